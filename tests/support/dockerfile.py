"""The instructions of `docker/Dockerfile`."""

import json
import re

from support.project import ROOT


def read_dockerfile() -> list[tuple[str, str]]:
    """Its instructions and their arguments; lines that a backslash continues are one."""
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def read_json_lines(instruction: str, lines: list[tuple[str, str]]) -> list[list[str]]:
    """The lists of an instruction, also where it is a part of another one, as CMD is of HEALTHCHECK."""
    pattern = rf"(?:^|\s){instruction}\s+(\[.*\])$"
    return [json.loads(found[1]) for line in lines if (found := re.search(pattern, " ".join(line)))]

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.secrets import redact

SCHEMES = ["http", "https", "s3", "postgresql+psycopg2", "mysql", "ssh", "mlflow-artifacts"]
names = st.text("abcdefgh-_.~", min_size=1, max_size=8)
secrets = st.text("QRSTUVWXYZ", min_size=4, max_size=8)  # in no other part of a URL
# Characters that stand unencoded in a password although they should not. (After `user:@` the rest is a host.)
odd = st.text("!$*'()+,;=:@/?#&% \"<>[]{}|", max_size=3)


@st.composite
def passwords(draw):
    first, second = draw(secrets), draw(secrets)
    start = draw(odd).replace("@", "").strip()
    return f"{start}{first}{draw(odd)}{second}", (first, second)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:password@host:5000/a?sig=TOKEN&x=1", "http://***@host:5000/a?sig=***&x=***"),
        ("https://ghp_TOKEN@github.com/owner/name.git", "https://***@github.com/owner/name.git"),
        ("postgresql+psycopg2://user:pa/ss@host:5432/db", "postgresql+psycopg2://***@host:5432/db"),
        ("postgresql://user:12/3@host/db", "postgresql://***@host/db"),
        ("s3://KEY:sec/ret@bucket/path", "s3://***@bucket/path"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Dp", "mssql+pyodbc:///?odbc_connect=***"),
        ("http://user:p@ss@host/a", "http://***@host/a"),
        ("http://host/a?TOKEN", "http://host/a?***"),
        ("http://host/a?VE9LRU4=", "http://host/a?***"),
        ("http://host/a#access_token=abc", "http://host/a#access_token=***"),
        ("http://a:b@one,http://c:d@two", "http://***@one,http://***@two"),
        ("http://host:80/ or mysql://u:p/w@h", "http://host:80/ or mysql://***@h"),
        ("(url: 'http://u:p@h/a?sig=abc').", "(url: 'http://***@h/a?sig=***')."),
        ("Failed to parse: http://user:pass word@host/a", "Failed to parse: http://***@host/a"),
        ("Max retries exceeded with url: /api?token=abc (Caused by X)", "/api?token=*** (Caused by X)"),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays_readable(text, expected):
    assert redact(text).endswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///mlruns/mlflow.db",
        "sqlite:////home/a@b/c:d@e/mlflow.db",
        "file:///home/me/x=1",
        "s3://bucket/a@b:c",
        "http://127.0.0.1:5000",
        "http://host:5000/models/name@champion",
        "http://[::1]:5000/#/experiments/1",
        "https://host/owner/name#chapter-2",
        "MLflow at http://host: it cannot be reached, write to me@example.org",
        "git@github.com:owner/name.git",
        "data/rows.csv",
        "yes and/or no? a=b",
        "",
    ],
)
def test_a_text_without_secrets_does_not_change(text):
    assert redact(text) == text


@given(st.sampled_from(SCHEMES), names, passwords(), names, names, st.sampled_from(["{}", "MLflow at {}: no", "'{}'"]))
def test_no_part_of_a_password_is_shown_and_its_host_is(scheme, user, password, host, path, sentence):
    text, parts = password
    shown = redact(sentence.format(f"{scheme}://{user}:{text}@{host}/{path}"))
    assert not any(part in shown for part in parts)
    assert f"{scheme}://***@" in shown
    assert f"{host}/{path}" in shown


@given(names, st.dictionaries(names, secrets, min_size=1, max_size=4), st.sampled_from(["", "#part", "."]))
def test_no_value_of_a_query_is_shown_and_its_names_are(host, values, end):
    query = "&".join(f"{name}={value}" for name, value in values.items())
    shown = redact(f"see https://{host}/a?{query}{end} for more")
    assert not any(value in shown for value in values.values())
    assert [name for name, _ in re.findall(r"([\w.~-]+)=(\*\*\*)", shown)] == list(values)
    assert shown.endswith(" for more")


@given(st.text("ab:/@?#=& .'%12\n", max_size=60))
def test_a_redacted_text_has_nothing_more_to_hide(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("text", ["://a:b", "/?", "a/b?c=d&", "/", "#=", "@", "://a#=", "?'", "http://"])
def test_a_long_text_is_read_in_one_pass(text):
    """A quadratic search would take hours."""
    assert len(redact(text * 300_000)) >= len(text)


def test_a_traceback_shows_no_secrets():
    code = (
        "from stages.core.secrets import redact_output; redact_output(); print('see http://u:PLANTED@h/a');"
        "raise ValueError('http://u:PLANTED@h/b')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "see http://***@h/a\n"
    assert done.stderr.endswith("ValueError: http://***@h/b\n")

"""The exception that means: the user can mend this. And the one that means: the process is told to end."""


class UserError(Exception):
    """A fault in params, data or environment, told in one message without a traceback.

    The message names the file or key, what was found, and what is allowed or what to do.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: what Ctrl-C is for people, from a machine."""

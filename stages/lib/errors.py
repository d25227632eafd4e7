"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A fault in params, data or environment, told in one message without a traceback.

    The message names the file or key, what was found, and what is allowed or what to do.
    """

"""The one exception that users are meant to see."""


class DldError(Exception):
    """A problem that the user can fix.

    The message says in one line what is wrong, where (file, line or id) and what to do about it.
    Commands print it without a traceback and exit with status 1.
    """

"""The tree of errors that reach the user.

Every class carries the exit status of the command-line contract and a short machine-readable ``code``;
the message is one sentence that says what is wrong, the ``hint`` what to do next. Messages are built
from facts that hold no secrets: a store is always named by its masked address.
"""

from __future__ import annotations


class SessionctlError(Exception):
    """The operation failed."""

    exit_code = 1
    code = "failed"
    transient = False
    """May the same attempt succeed a little later?"""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or self.__doc__ or self.code)
        self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])


class UsageError(SessionctlError):
    """The command was called in a way that cannot be carried out."""

    exit_code = 2
    code = "usage"


class ConfirmationRequired(UsageError):
    """This changes a store, and there is no terminal to ask on: add --yes to confirm."""

    code = "confirmation_required"


class Unsupported(UsageError):
    """This store cannot answer that."""

    code = "unsupported"


class GuardRefused(UsageError):
    """A safety guard refused the run."""

    code = "guard"


class SessionNotFound(SessionctlError):
    """There is no such session in the store."""

    code = "session_not_found"


class StoreBusy(SessionctlError):
    """The store stayed locked by someone else for longer than sessionctl waits."""

    code = "store_busy"
    transient = True


class StepEnded(SessionctlError):
    """What was under way was ended as it was wished, and nothing of it remains."""

    code = "step_ended"


class LedgerUnavailable(SessionctlError):
    """The ledger of runs cannot be written, so nothing was changed."""

    code = "ledger_unavailable"

    def __init__(self, message: str | None = None, *, hint: str | None = None, transient: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class RunUnderWay(SessionctlError):
    """Another run is at work there."""

    exit_code = 5
    code = "run_under_way"


class ArchiveMissing(SessionctlError):
    """There is no archive at that place."""

    code = "archive_missing"


class ArchiveUnavailable(SessionctlError):
    """The place of the archive cannot be read or written."""

    code = "archive_unavailable"


class ArchiveDamaged(SessionctlError):
    """The archive is damaged."""

    code = "archive_damaged"


class ItemTooLarge(SessionctlError):
    """An item is larger than an archive can hold."""

    code = "item_too_large"


class ModelFailed(SessionctlError):
    """The model gave no answer that can be used."""

    code = "model_failed"


class ModelUnavailable(SessionctlError):
    """The model cannot be asked, about this session or any other."""

    code = "model_unavailable"


class StoreUnavailable(SessionctlError):
    """The store is missing, unreachable, or not one sessionctl understands."""

    exit_code = 10
    code = "store_unavailable"
    transient = True


class StoreMissing(StoreUnavailable):
    """There is no store at that address."""

    code = "store_missing"
    transient = False


class StoreNotUnderstood(StoreUnavailable):
    """The tables there are not a session store of the OpenAI Agents SDK."""

    code = "store_not_understood"
    transient = False


class StoreDamaged(StoreUnavailable):
    """The store itself is damaged, or the disk under it."""

    transient = False


class AccessRefused(SessionctlError):
    """The store refused access."""

    exit_code = 11
    code = "access_refused"

"""What can go wrong, as one tree.

::

    IminetVizError          a user's mistake or a bad input: one sentence, exit status 1
    ├── AudioError          a sound file that cannot be read or written
    ├── FrontEndError       a spectrogram setting or shape that does not fit
    ├── ImitationError      a sound that no voice can imitate, or imitations that cannot be made
    ├── DatasetError        a data set that is missing, incomplete or inconsistent
    ├── CheckpointError     a stored model that cannot be trusted or does not fit
    ├── SearchError         a library or a query that cannot be searched
    ├── TrainingError       a recipe that cannot be run
    ├── LibraryError        an index that cannot be read, written or searched by a model
    ├── ClusterError        a Ray cluster that cannot be had, or that lost a part of the work
    ├── PatternError        a neuron, objective or optimisation that fails
    ├── GalleryError        a gallery that cannot be written or does not verify
    ├── StudyError          a listening study's file that cannot be read, or an answer that cannot be kept
    └── AppError            an app that cannot start, or that is asked for what it may not give

Everything else that escapes is our bug and shows its traceback.
"""


class IminetVizError(Exception):
    """Base of every error this package raises on purpose."""


class AudioError(IminetVizError):
    """A sound file that cannot be read or written; the message names the file and the reason."""


class FrontEndError(IminetVizError):
    """A spectrogram setting or a shape that does not fit; the message says what was expected."""


class ImitationError(IminetVizError):
    """A sound that no voice can imitate, or imitations that cannot be made; the message says why."""


class DatasetError(IminetVizError):
    """A data set that is missing, incomplete or inconsistent; the message names the file or row."""


class CheckpointError(IminetVizError):
    """A stored model that cannot be trusted or does not fit; the message names the folder and key."""


class SearchError(IminetVizError):
    """A library or a query that cannot be searched; the message names the row or what was expected."""


class TrainingError(IminetVizError):
    """A recipe that cannot be run, or a training that left the finite numbers."""


class LibraryError(IminetVizError):
    """An index that cannot be read or written, or does not fit a model; the message names it."""


class ClusterError(IminetVizError):
    """A Ray cluster that cannot be had, or that does not answer any more; the message says which part of it."""


class PatternError(IminetVizError):
    """A neuron, objective or optimisation that fails; the message lists the legal names."""


class GalleryError(IminetVizError):
    """A gallery that cannot be written or does not verify; the message names the entry."""


class StudyError(IminetVizError):
    """A listening study's file that cannot be read, or a question that cannot be asked; the message says why."""


class AppError(IminetVizError):
    """An app that cannot start, or that is asked for what it may not give; the message says what was expected."""


def first_line(error: BaseException) -> str:
    """The first line of what a library says, 200 letters at most; the kind of the error where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

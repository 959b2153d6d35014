"""Where archives lie: directories and files here, or behind the URL of a file system that fsspec knows.

A file appears under its name whole or not at all: a local one is written as ``.part``, synced and renamed,
a remote one is committed by its file system. Nothing is ever written over.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, Self
from urllib.parse import unquote, urlsplit

from sessionctl.core.address import mask
from sessionctl.errors import AccessRefused, ArchiveMissing, ArchiveUnavailable, SessionctlError, UsageError

PART = ".part"
_BLOCK = 8 * 1024 * 1024
"""Octets of a remote file held in memory; a part of an upload."""


class Entry(NamedTuple):
    """What lies in a directory; symbolic links are neither files nor directories."""

    name: str
    is_directory: bool
    is_file: bool


class Sink(Protocol):
    """A file in the making: ``commit`` makes it appear, ``discard`` leaves nothing of it."""

    def write(self, data: bytes, /) -> object: ...

    def commit(self) -> None: ...

    def discard(self) -> None: ...


class Place(ABC):
    """A file or directory by its address; ``str()`` is fit for users, secrets masked.

    Every method raises ArchiveMissing where there is nothing, AccessRefused, and ArchiveUnavailable where it
    cannot be used for another reason.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the address."""

    @abstractmethod
    def child(self, name: str) -> Place:
        """What lies under ``name`` in this directory; ``name`` is one plain part of a path."""

    @abstractmethod
    def is_directory(self) -> bool: ...

    @abstractmethod
    def entries(self) -> list[Entry]:
        """What lies in this directory, by name."""

    @abstractmethod
    def make_directory(self) -> None:
        """Make this directory, and those above it; ArchiveUnavailable if it is there already."""

    @abstractmethod
    def create(self) -> Sink:
        """Start this file; ArchiveUnavailable if it is there already."""

    @abstractmethod
    def open(self) -> BinaryIO:
        """This file for reading; its bytes come from where they are kept, not out of a cache of the writer."""

    @abstractmethod
    def size(self) -> int:
        """Octets of this file."""

    @abstractmethod
    def remove(self) -> None:
        """Remove this file."""

    @abstractmethod
    def remove_directory(self) -> None:
        """Remove this directory, which must be empty."""


def place(address: str) -> Place:
    """The place at ``address``, a path or a URL. Raises UsageError for none, and a URL that nothing here can open."""
    if not address.strip():  # as a path it would be the current directory
        raise UsageError("the place of the archive is empty", hint="name a file, a directory or a URL")
    if "://" not in address:
        return LocalPlace(Path(address))
    if address.startswith("file://"):
        return LocalPlace(Path(unquote(urlsplit(address).path)))
    return RemotePlace.at(address)


# -- here -----------------------------------------------------------------------------------------------


class LocalPlace(Place):
    """A path: directories are made with 0700, files with 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @property
    def name(self) -> str:
        return self._path.name

    def child(self, name: str) -> Place:
        return LocalPlace(self._path / name)

    def is_directory(self) -> bool:
        return self._path.is_dir()

    def entries(self) -> list[Entry]:
        with reported(self), os.scandir(self._path) as found:
            return sorted(
                Entry(e.name, e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False)) for e in found
            )

    def make_directory(self) -> None:
        with reported(self):
            missing = [above for above in self._path.parents if not above.exists()]
            for above in reversed(missing):
                above.mkdir(mode=0o700, exist_ok=True)
                _sync(above.parent)
            self._path.mkdir(mode=0o700)
            _sync(self._path.parent)

    def create(self) -> Sink:
        with reported(self):
            if self._path.exists():
                raise FileExistsError(None, "it exists already")
            return _LocalFile(self._path, str(self))

    def open(self) -> BinaryIO:
        with reported(self):
            file = self._path.open("rb")
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.close()
                raise ArchiveUnavailable(f"{self} is no file")
            if hasattr(os, "posix_fadvise"):  # what reached the disk counts, not what the system remembers
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return file

    def size(self) -> int:
        with reported(self):
            return self._path.stat().st_size

    def remove(self) -> None:
        with reported(self):
            self._path.unlink()
            _sync(self._path.parent)

    def remove_directory(self) -> None:
        with reported(self):
            self._path.rmdir()
            _sync(self._path.parent)


class _LocalFile:
    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._part = path.with_name(path.name + PART)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.fdopen(os.open(self._part, flags, 0o600), "wb")

    def write(self, data: bytes, /) -> None:
        with reported(self._name):
            self._file.write(data)

    def commit(self) -> None:
        with reported(self._name):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.rename(self._path)
            _sync(self._path.parent)

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- behind URLs ----------------------------------------------------------------------------------------


class RemotePlace(Place):
    """A path in a file system of fsspec."""

    def __init__(self, system: Any, path: str, shown: str) -> None:
        self._system, self._path, self._shown = system, path, shown

    @classmethod
    def at(cls, address: str) -> RemotePlace:
        shown = mask(address).rstrip("/")
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UsageError(f"{shown} needs fsspec", hint="pip install 'sessionctl[s3]'") from None
        try:
            system, path = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{shown} cannot be opened: {error}") from None
        return cls(system, path.rstrip("/"), shown)

    def __str__(self) -> str:
        return self._shown

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    def child(self, name: str) -> Place:
        return RemotePlace(self._system, f"{self._path}/{name}", f"{self._shown}/{name}")

    def is_directory(self) -> bool:
        with reported(self):
            self._system.invalidate_cache()
            return bool(self._system.isdir(self._path))

    def entries(self) -> list[Entry]:
        with reported(self):
            self._system.invalidate_cache()
            found = self._system.ls(self._path, detail=True)
        names = {entry["name"].rstrip("/").rpartition("/")[2]: entry["type"] for entry in found}
        return [Entry(name, kind == "directory", kind == "file") for name, kind in sorted(names.items()) if name]

    def make_directory(self) -> None:
        with reported(self):
            self._system.invalidate_cache()
            if self._system.exists(self._path):
                raise FileExistsError(None, "it exists already")
            if not _stores_objects(self._system):
                self._system.makedirs(self._path)

    def create(self) -> Sink:
        with reported(self):
            self._system.invalidate_cache()
            if self._system.exists(self._path):
                raise FileExistsError(None, "it exists already")
            return _RemoteFile(self._system, self._path, str(self))

    def open(self) -> BinaryIO:
        with reported(self):
            self._system.invalidate_cache()
            return _Reported(self._system.open(self._path, "rb", block_size=_BLOCK), str(self))  # type: ignore[return-value]

    def size(self) -> int:
        with reported(self):
            return int(self._system.size(self._path))

    def remove(self) -> None:
        with reported(self):
            self._system.rm_file(self._path)

    def remove_directory(self) -> None:
        with reported(self):
            if not _stores_objects(self._system):
                self._system.rmdir(self._path)


def _stores_objects(system: Any) -> bool:
    """Has it no directories but in the names of its files? What would make or remove one acts on buckets."""
    protocols = system.protocol if isinstance(system.protocol, tuple | list) else (system.protocol,)
    return not {"s3", "s3a", "gs", "gcs", "abfs", "az", "abfss", "oss", "oci"}.isdisjoint(protocols)


class _RemoteFile:
    def __init__(self, system: Any, path: str, name: str) -> None:
        self._system, self._path, self._name = system, path, name
        self._file = system.open(path, "wb", block_size=_BLOCK, autocommit=False)

    def write(self, data: bytes, /) -> None:
        with reported(self._name):
            self._file.write(data)

    def commit(self) -> None:
        with reported(self._name):
            self._file.close()
            self._file.commit()

    def discard(self) -> None:
        with suppress(Exception):
            self._file.discard()
        with suppress(Exception):
            self._file.closed = True  # or fsspec uploads the rest when the object is collected
        with suppress(Exception):  # some file systems know no commit and show a file from its first byte
            self._system.invalidate_cache()
            if self._system.exists(self._path):
                self._system.rm_file(self._path)


class _Reported:
    """A remote file whose driver's errors are told as ours."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1) -> bytes:
        with reported(self._name):
            return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        with reported(self._name):
            return int(self._file.seek(offset, whence))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def reported(shown: object) -> Iterator[None]:
    """Whatever goes wrong at a place is told as what is wrong with it."""
    try:
        yield
    except SessionctlError:
        raise
    except PermissionError as error:
        raise AccessRefused(f"{shown}: access is refused") from error
    except FileNotFoundError as error:
        raise ArchiveMissing(f"there is no {shown}") from error
    except BrokenPipeError:
        raise  # whoever read the output has gone: no fault of the place
    except OSError as error:
        raise ArchiveUnavailable(f"{shown}: {error.strerror or error}") from error
    except Exception as error:
        if isinstance(shown, LocalPlace):
            raise
        raise ArchiveUnavailable(
            f"{shown}: {type(error).__name__}: {error}"
        ) from error  # fsspec's drivers raise what they like

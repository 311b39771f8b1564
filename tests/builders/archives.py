"""Archives as the API hands adapters out."""

import io
import tarfile


def archive(*members: tuple[str, bytes], link: tuple[str, str] | None = None) -> bytes:
    """A tar of files, and of a symbolic link when one is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(info)
    return buffer.getvalue()

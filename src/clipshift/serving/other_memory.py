"""Copies of what lies in the memory of another process, made without its help (process_vm_readv(2))."""

from __future__ import annotations

import ctypes
import errno
import os

import numpy as np

_REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS}


class _Piece(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t))


def copy_out(pid: int, address: int, array: np.ndarray) -> bool:
    """Fill an array with the bytes that another process has at an address.

    They are copied once, by the kernel; through a pipe they would be copied twice, in pieces for which both wake up.

    Args:
        pid: Of the process. That it was this one all the time is for the caller to make sure of.
        address: In that process.
        array: Is filled; its bytes stand in a row.

    Returns:
        Whether this process may: the system can be set up not to let it.

    Raises:
        ValueError: The process has nothing there.
        OSError: It is not there.
    """
    if not 0 < address < 2**63:
        raise ValueError("address")
    system = ctypes.CDLL(None, use_errno=True)
    system.process_vm_readv.restype = ctypes.c_ssize_t
    done = 0
    while done < array.nbytes:
        here = _Piece(array.ctypes.data + done, array.nbytes - done)
        there = _Piece(address + done, array.nbytes - done)
        unsigned = ctypes.c_ulong
        count = system.process_vm_readv(
            pid, ctypes.byref(here), unsigned(1), ctypes.byref(there), unsigned(1), unsigned(0)
        )
        if count < 1:
            reason = ctypes.get_errno() if count < 0 else errno.EFAULT
            if reason in _REFUSED:
                return False
            if reason == errno.EFAULT:
                raise ValueError("nothing at the address")
            raise OSError(reason, os.strerror(reason))
        done += count
    return True

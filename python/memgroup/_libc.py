"""The C library, for calls that Python has no function for, or only with more around them."""

from __future__ import annotations

import ctypes

libc = ctypes.CDLL(None, use_errno=True)

_ADDRESS, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

libc.mmap.restype = _ADDRESS
libc.mmap.argtypes = [_ADDRESS, _SIZE, _INT, _INT, _INT, ctypes.c_long]
libc.munmap.argtypes = [_ADDRESS, _SIZE]
libc.mprotect.argtypes = [_ADDRESS, _SIZE, _INT]
libc.madvise.argtypes = [_ADDRESS, _SIZE, _INT]
libc.read.restype = ctypes.c_ssize_t
libc.read.argtypes = [_INT, _ADDRESS, _SIZE]
libc.syscall.restype = ctypes.c_long
libc.pthread_self.restype = _ADDRESS
libc.clone.argtypes = [_ADDRESS, _ADDRESS, _INT, _ADDRESS]

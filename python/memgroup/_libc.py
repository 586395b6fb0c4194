"""The C library, for system calls that Python does not offer, or only with additional work."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_long, c_size_t, c_ssize_t, c_void_p

libc = ctypes.CDLL(None, use_errno=True)

libc.mmap.restype = c_void_p
libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
libc.munmap.argtypes = [c_void_p, c_size_t]
libc.mprotect.argtypes = [c_void_p, c_size_t, c_int]
libc.madvise.argtypes = [c_void_p, c_size_t, c_int]
libc.read.restype = c_ssize_t
libc.read.argtypes = [c_int, c_void_p, c_size_t]
libc.syscall.restype = c_long
libc.pthread_self.restype = c_void_p
libc.clone.argtypes = [c_void_p, c_void_p, c_int, c_void_p]

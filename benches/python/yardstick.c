/* The yardstick: a bump arena and its objects, written by hand against CPython's full C interface.
 *
 * It does the job of MemGroup.alloc and no more: an object with address, length and owner, a bytes-like one, for memory
 * that is freed with its arena. No threads, no second slot, no read-only mirror, no end before the last object's. The
 * extra time of memgroup is the cost of these, of the stable ABI and of Rust.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define ALIGN ((Py_ssize_t)16)

typedef struct {
    PyObject_HEAD
    char *start;
    Py_ssize_t used, capacity;
} Arena;

typedef struct {
    PyObject_HEAD
    char *address;
    Py_ssize_t length;
    PyObject *owner;
} Piece;

static void piece_dealloc(PyObject *self) {
    Py_DECREF(((Piece *)self)->owner);
    PyObject_Free(self);
}

static Py_ssize_t piece_length(PyObject *self) { return ((Piece *)self)->length; }

static int piece_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    Piece *piece = (Piece *)self;
    return PyBuffer_FillInfo(view, self, piece->address, piece->length, 0, flags);
}

static PySequenceMethods piece_as_sequence = {.sq_length = piece_length};
static PyBufferProcs piece_as_buffer = {.bf_getbuffer = piece_getbuffer};

static PyTypeObject PieceType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "yardstick.Piece",
    .tp_basicsize = sizeof(Piece),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = piece_dealloc,
    .tp_as_sequence = &piece_as_sequence,
    .tp_as_buffer = &piece_as_buffer,
};

static PyObject *arena_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"capacity", NULL};
    Py_ssize_t capacity;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:Arena", keywords, &capacity)) {
        return NULL;
    }
    if (capacity <= 0) {
        PyErr_SetString(PyExc_ValueError, "capacity must be positive");
        return NULL;
    }
    void *start = mmap(NULL, (size_t)capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return PyErr_NoMemory();
    }
    Arena *arena = (Arena *)type->tp_alloc(type, 0);
    if (arena == NULL) {
        munmap(start, (size_t)capacity);
        return NULL;
    }
    arena->start = start;
    arena->capacity = capacity;
    return (PyObject *)arena;
}

static void arena_dealloc(PyObject *self) {
    Arena *arena = (Arena *)self;
    munmap(arena->start, (size_t)arena->capacity);
    Py_TYPE(self)->tp_free(self);
}

static Piece *piece_of(Arena *arena, Py_ssize_t length) {
    if (length > arena->capacity - arena->used) {
        PyErr_NoMemory();
        return NULL;
    }
    Piece *piece = PyObject_New(Piece, &PieceType);
    if (piece == NULL) {
        return NULL;
    }
    piece->address = arena->start + arena->used;
    piece->length = length;
    piece->owner = Py_NewRef((PyObject *)arena);
    /* May pass a capacity that is no multiple of the alignment: then the next one does not fit. */
    arena->used = Py_MIN(arena->capacity, arena->used + ((length + ALIGN - 1) & ~(ALIGN - 1)));
    return piece;
}

static PyObject *arena_alloc(PyObject *self, PyObject *argument) {
    Py_ssize_t length = PyLong_AsSsize_t(argument);
    if (length < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "negative size");
        }
        return NULL;
    }
    return (PyObject *)piece_of((Arena *)self, length);
}

static PyObject *arena_copy(PyObject *self, PyObject *argument) {
    Py_buffer source;
    if (PyObject_GetBuffer(argument, &source, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Piece *piece = piece_of((Arena *)self, source.len);
    if (piece != NULL) {
        memcpy(piece->address, source.buf, (size_t)source.len);
    }
    PyBuffer_Release(&source);
    return (PyObject *)piece;
}

/* Pieces from before stay valid objects: the caller resets an arena only when there are none. */
static PyObject *arena_reset(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    ((Arena *)self)->used = 0;
    Py_RETURN_NONE;
}

static PyMethodDef arena_methods[] = {
    {"alloc", arena_alloc, METH_O, "Return a piece of so many bytes."},
    {"copy", arena_copy, METH_O, "Return a piece with the bytes of a bytes-like object."},
    {"reset", arena_reset, METH_NOARGS, "Begin again with the same memory."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ArenaType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "yardstick.Arena",
    .tp_basicsize = sizeof(Arena),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = arena_new,
    .tp_dealloc = arena_dealloc,
    .tp_methods = arena_methods,
};

/* The core of `read_ranges` for records that lie one after the other in the file: as many of them in each call as it
 * takes, each to a multiple of 16 bytes of one buffer that was made before. */
static PyObject *read_records(PyObject *Py_UNUSED(module), PyObject *args) {
    int fd;
    Py_buffer sizes, into;
    if (!PyArg_ParseTuple(args, "iy*w*:read_records", &fd, &sizes, &into)) {
        return NULL;
    }
    const unsigned long long *size = sizes.buf;
    Py_ssize_t count = sizes.len / (Py_ssize_t)sizeof *size;
    char *at = into.buf, *end = at + into.len;
    off_t offset = 0;
    int failed = 0;
    Py_BEGIN_ALLOW_THREADS
    struct iovec pieces[IOV_MAX];
    for (Py_ssize_t record = 0; record < count && !failed;) {
        int many = 0;
        ssize_t together = 0;
        for (; many < IOV_MAX && record < count; many++, record++) {
            pieces[many] = (struct iovec){at, (size_t)size[record]};
            together += (ssize_t)size[record];
            at += (size[record] + ALIGN - 1) & ~(unsigned long long)(ALIGN - 1);
        }
        failed = at > end || preadv(fd, pieces, many, offset) != together;
        offset += together;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&sizes);
    PyBuffer_Release(&into);
    if (failed) {
        PyErr_SetString(PyExc_OSError, "short read, or a buffer that is too short");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"read_records", read_records, METH_VARARGS, "Read records that lie one behind the other in a file."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef yardstick = {PyModuleDef_HEAD_INIT, "yardstick", NULL, -1, functions};

PyMODINIT_FUNC PyInit_yardstick(void) {
    if (PyType_Ready(&PieceType) < 0 || PyType_Ready(&ArenaType) < 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&yardstick);
    if (module == NULL) {
        return NULL;
    }
    if (PyModule_AddObjectRef(module, "Arena", (PyObject *)&ArenaType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}

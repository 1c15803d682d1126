"""Models, sessions and generations as objects."""
import array
import ctypes
import enum
from ctypes import byref, c_int32, c_int64, c_size_t, c_void_p

from ._library import (Error, GenerationOptions, Options, Progress, Statistics, Status, check, fill, id_array, library,
                       path_bytes)

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _bytes_of(size):
    """6 GiB of "6G", 1.5 MiB of "1.5M"; a number is bytes already."""
    if isinstance(size, int):
        return size
    text = size.strip()
    try:
        return int(float(text[:-1]) * _UNITS[text[-1].upper()]) if text[-1:].upper() in _UNITS else int(text)
    except ValueError:
        raise ValueError(f"{size!r} is not a size; give bytes or a number with K, M, G or T") from None


def _text(value):
    return None if value is None else value.encode()


class FinishReason(enum.IntEnum):
    NOT_YET = 0
    STOP = 1
    LENGTH = 2
    CONTEXT = 3
    CANCELLED = 4
    ERROR = 5


class _Handle:
    """Something of the library that is to be freed once."""
    _free = None

    def __init__(self, handle, parent=None):
        self._handle = handle
        self._parent = parent   # is freed after this
        self._children = []
        if parent is not None:
            parent._children.append(self)

    def close(self):
        if self._handle is None:
            return
        for child in list(self._children):
            child.close()
        type(self)._free(self._handle)
        self._handle = None
        if self._parent is not None:
            self._parent._children.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def handle(self):
        if self._handle is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._handle


class Model(_Handle):
    """A checkpoint folder or a GGUF file, opened. Options that are left out have the library's defaults: see
    sluice_options in sluice/sluice.h. Sizes are bytes or texts such as "6G"."""
    _free = library.sluice_model_close

    def __init__(self, path, *, device=None, threads=0, pin_threads=False, exact=False, context=0, chunk=0, kv=None,
                 ram=0, io=None, direct_io=None, look_ahead=None, warm_start=None):
        options = Options(_text(device), threads, pin_threads, exact, context, chunk, _text(kv), _bytes_of(ram),
                          _text(io), _text(direct_io), _text(look_ahead), _text(warm_start))
        handle = c_void_p()
        check(library.sluice_model_open(path_bytes(path), byref(options), byref(handle)))
        super().__init__(handle)

    @property
    def vocabulary(self):
        return library.sluice_model_vocabulary(self.handle)

    @property
    def context(self):
        return library.sluice_model_context(self.handle)

    def statistics(self):
        """A dictionary of the counters in sluice_statistics; those of experts are in "experts"."""
        taken = Statistics()
        library.sluice_model_statistics(self.handle, byref(taken))
        counts = {name: getattr(taken, name) for name, _ in Statistics._fields_}
        counts["experts"] = {name: getattr(taken.experts, name) for name, _ in type(taken.experts)._fields_}
        return counts

    def tokenize(self, text):
        return list(fill(c_int32, lambda ids, count: library.sluice_tokenize(self.handle, text.encode(), ids, count)))

    def detokenize(self, ids):
        ids = id_array(ids)
        text = fill(ctypes.c_char,
                    lambda out, count: library.sluice_detokenize(self.handle, ids, len(ids), out, count))
        return text[:].decode(errors="replace")

    def session(self):
        return Session(self)

    def generate(self, prompt, **options):
        """The text that follows a prompt, as pieces while it is made. Options as for Session.generate."""
        with self.session() as session:
            yield from session.generate(prompt, **options)

    def step(self, generations, tokens=0):
        """One forward pass for all of them, of `tokens` at most (0: what there is memory for)."""
        handles = (c_void_p * len(generations))(*[each.handle for each in generations])
        check(library.sluice_step(self.handle, handles, len(generations), tokens))


class Session(_Handle):
    """One timeline of tokens."""
    _free = library.sluice_session_free

    def __init__(self, model):
        handle = c_void_p()
        check(library.sluice_session_create(model.handle, byref(handle)))
        super().__init__(handle, model)
        self._progress = None

    @property
    def model(self):
        return self._parent

    @property
    def position(self):
        return library.sluice_session_position(self.handle)

    @property
    def state_bytes(self):
        return library.sluice_session_state_bytes(self.handle)

    def on_progress(self, call):
        """`call(done, total)` during evaluation; what it returns, if it is False, cancels. None takes it away."""
        self._progress = Progress(lambda done, total, _: 0 if call(done, total) is False else 1) if call else Progress()
        library.sluice_session_set_progress(self.handle, self._progress, None)

    def evaluate(self, ids, position=None):
        """The logits of the last of these tokens, which follow `position` tokens (None: all there are)."""
        return self._evaluate(library.sluice_session_evaluate, ids, position)[0]

    def evaluate_all(self, ids, position=None):
        """The logits of every one of them."""
        return self._evaluate(library.sluice_session_evaluate_all, ids, position)

    def _evaluate(self, call, ids, position):
        ids = id_array(ids)
        check(call(self.handle, ids, len(ids), self.position if position is None else position))
        return self.logits()

    def logits(self):
        """Of the last evaluation: an array of floats for each row; none before any."""
        rows = c_size_t(0)
        numbers = library.sluice_session_logits(self.handle, byref(rows))
        width = self.model.vocabulary
        size = ctypes.sizeof(ctypes.c_float) * width
        first = ctypes.addressof(numbers.contents) if rows.value else 0
        return [array.array("f", ctypes.string_at(first + row * size, size)) for row in range(rows.value)]

    def truncate(self, position):
        check(library.sluice_session_truncate(self.handle, position))

    def save(self, path):
        check(library.sluice_session_save(self.handle, path_bytes(path)))

    def load(self, path):
        check(library.sluice_session_load(self.handle, path_bytes(path)))

    def checkpoint(self):
        number = c_int64()
        check(library.sluice_session_checkpoint(self.handle, byref(number)))
        return number.value

    def restore(self, checkpoint):
        check(library.sluice_session_restore(self.handle, checkpoint))

    def drop_checkpoint(self, checkpoint):
        check(library.sluice_session_drop_checkpoint(self.handle, checkpoint))

    def begin(self, prompt, **options):
        """A Generation that Model.step moves on: of a text, which is the whole of the session, or of ids after it."""
        return Generation(self, prompt, **options)

    def generate(self, prompt, **options):
        """The text that follows, as pieces while it is made. To stop, stop asking for more."""
        with self.begin(prompt, **options) as generation:
            while not generation.finished:
                self.model.step([generation])
                piece = generation.take_text()
                if piece:
                    yield piece
            generation.check()


class Generation(_Handle):
    """A request to generate. Options: temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty,
    frequency_penalty, seed, max_tokens, ignore_eos, log_probabilities; stop (a list of texts), bias ({id: number}).
    What is left out is as the model says."""
    _free = library.sluice_generation_free

    def __init__(self, session, prompt, *, stop=(), bias=None, **options):
        values = GenerationOptions()
        library.sluice_generation_defaults(session.model.handle, byref(values))
        plain = {name for name, kind in GenerationOptions._fields_ if kind in (ctypes.c_double, c_int64,
                                                                               ctypes.c_uint64, ctypes.c_int)}
        for name, value in options.items():
            if name not in plain:
                raise TypeError(f"there is no option {name!r}; there are {', '.join(sorted(plain))}, stop and bias")
            setattr(values, name, value)
        values.stop = (ctypes.c_char_p * len(stop))(*[text.encode() for text in stop])
        values.stop_count = len(stop)
        bias = bias or {}
        values.bias_ids = id_array(bias)
        values.bias_values = (ctypes.c_double * len(bias))(*bias.values())
        values.bias_count = len(bias)
        handle = c_void_p()
        if isinstance(prompt, str):
            check(library.sluice_generation_begin_text(session.handle, prompt.encode(), byref(values), byref(handle)))
        else:
            ids = id_array(prompt)
            check(library.sluice_generation_begin(session.handle, ids, len(ids), byref(values), byref(handle)))
        super().__init__(handle, session)

    @property
    def finished(self):
        return bool(library.sluice_generation_finished(self.handle))

    @property
    def finish_reason(self):
        return FinishReason(library.sluice_generation_finish_reason(self.handle))

    @property
    def tokens(self):
        """All generated so far, without the end token."""
        return list(fill(c_int32, lambda ids, count: library.sluice_generation_tokens(self.handle, ids, count)))

    @property
    def progress(self):
        """Tokens of the prompt evaluated or known before, and all of them."""
        done, total = c_int64(), c_int64()
        library.sluice_generation_progress(self.handle, byref(done), byref(total))
        return done.value, total.value

    def take_text(self):
        """What became certain since it was last taken."""
        text = fill(ctypes.c_char,
                    lambda out, count: library.sluice_generation_take_text(self.handle, out, count))
        return text[:].decode()

    def log_probability(self, token):
        """Of the generated token of that number: its own, and {id: value} of the likeliest at its place."""
        value = ctypes.c_float()
        count = c_size_t(0)
        call = library.sluice_generation_log_probability
        call(self.handle, token, byref(value), None, None, byref(count))
        ids, values = (c_int32 * count.value)(), (ctypes.c_float * count.value)()
        check(call(self.handle, token, byref(value), ids, values, byref(count)))
        return value.value, dict(zip(ids, values))

    def cancel(self):
        library.sluice_generation_cancel(self.handle)

    def check(self):
        """Raises what ended it, if anything did."""
        check(library.sluice_generation_error(self.handle))

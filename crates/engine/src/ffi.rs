//! The only unsafe code of this crate: a safe face for the part of llama.cpp's C interface that is used.
//!
//! Ownership follows the C side: [`Model`] owns the weights and the vocabulary, [`Context`] borrows the model and owns
//! the attention cache. None of them is shared between threads.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs::File;
use std::io::Seek;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::fd::IntoRawFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use llama_cpp_sys_2 as sys;

use crate::cells::Cells;
use crate::gguf::Block;

/// One token of a vocabulary.
pub(crate) type Token = sys::llama_token;

/// A place in the attention cache for the tokens of one text, from 0.
pub(crate) type Sequence = sys::llama_seq_id;

/// `llama_decode`'s result for a computation that the abort callback ended.
pub(crate) const ABORTED: i32 = 2;

/// A failed `llama_decode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecodeStatus(pub(crate) i32);

/// Layout of an element type, or `None` where the linked llama.cpp does not know it.
pub(crate) fn block_of(kind: u32) -> Option<Block> {
    if kind >= sys::GGML_TYPE_COUNT {
        return None;
    }
    // SAFETY: both functions read a static table of GGML_TYPE_COUNT entries, and `kind` is below that.
    let (elements, bytes) = unsafe { (sys::ggml_blck_size(kind), sys::ggml_type_size(kind)) };
    let block = Block { elements: u64::try_from(elements).ok()?, bytes: u64::try_from(bytes).ok()? };
    (block.elements > 0 && block.bytes > 0).then_some(block)
}

/// Initialises llama.cpp once per process and throws its log away: its text is not ours to promise anything about.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `discard` has the type that is asked for and uses none of its arguments; no user data is given.
        // `llama_backend_init` has no precondition. Nothing of llama.cpp runs before this.
        unsafe {
            sys::llama_log_set(Some(discard), ptr::null_mut());
            sys::llama_backend_init();
        }
    });
}

unsafe extern "C" fn discard(_level: sys::ggml_log_level, _text: *const c_char, _data: *mut c_void) {}

/// A loaded model.
pub(crate) struct Model {
    model: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
}

impl Model {
    /// Maps `file` into memory and reads its header. Weights are not copied or rearranged. No path is opened: a confined
    /// process could not.
    pub(crate) fn load(mut file: File) -> Option<Self> {
        initialise();
        file.rewind().ok()?;
        let stream = Stream::new(file)?;
        // SAFETY: no precondition.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = 0;
        params.load_mode = sys::LLAMA_LOAD_MODE_MMAP;
        // The extra buffer types of the CPU hold a second, rearranged copy of the weights.
        params.use_extra_bufts = false;
        // SAFETY: `stream` is open until the call returns, and the C side neither closes nor keeps it: the mapping of the
        // weights outlives it. Every pointer in `params` is null, as the defaults are.
        let model =
            NonNull::new(unsafe { sys::llama_model_load_from_file_ptr(stream.0.as_ptr().cast(), params) })?;
        // SAFETY: `model` was just loaded.
        let vocab = unsafe { sys::llama_model_get_vocab(model.as_ptr()) };
        let Some(vocab) = NonNull::new(vocab.cast_mut()) else {
            // SAFETY: `model` was just loaded and is not used again.
            unsafe { sys::llama_model_free(model.as_ptr()) };
            return None;
        };
        Some(Self { model, vocab })
    }

    /// Whether the model continues text: it has a decoder and needs no encoder.
    pub(crate) fn continues_text(&self) -> bool {
        // SAFETY: `self.model` is loaded.
        unsafe {
            sys::llama_model_has_decoder(self.model.as_ptr())
                && !sys::llama_model_has_encoder(self.model.as_ptr())
        }
    }

    /// How the file says that a text becomes one vector; `None` where it does not.
    pub(crate) fn pooling(&self, architecture: &str) -> Option<Pooling> {
        match self.metadata(&CString::new(format!("{architecture}.pooling_type")).ok()?)?.parse() {
            Ok(sys::LLAMA_POOLING_TYPE_NONE) => None,
            Ok(sys::LLAMA_POOLING_TYPE_MEAN | sys::LLAMA_POOLING_TYPE_CLS | sys::LLAMA_POOLING_TYPE_LAST) => {
                Some(Pooling::Vector)
            }
            // Of rerankers, or of a later version.
            _ => Some(Pooling::Other),
        }
    }

    /// Numbers of a text's vector.
    pub(crate) fn dimensions(&self) -> u32 {
        // SAFETY: `self.model` is loaded.
        u32::try_from(unsafe { sys::llama_model_n_embd_out(self.model.as_ptr()) }).unwrap_or(0)
    }

    /// Whether a text that begins as another one can begin with what was computed for it: every token sees every earlier
    /// one, and nothing else is remembered.
    pub(crate) fn shares_beginnings(&self) -> bool {
        let model = self.model.as_ptr();
        // SAFETY: `self.model` is loaded.
        unsafe {
            sys::llama_model_n_swa(model) == 0
                && !sys::llama_model_is_recurrent(model)
                && !sys::llama_model_is_hybrid(model)
        }
    }

    pub(crate) fn trained_context_tokens(&self) -> u32 {
        // SAFETY: `self.model` is loaded.
        let n = unsafe { sys::llama_model_n_ctx_train(self.model.as_ptr()) };
        u32::try_from(n).unwrap_or(0)
    }

    pub(crate) fn parameters(&self) -> u64 {
        // SAFETY: `self.model` is loaded.
        unsafe { sys::llama_model_n_params(self.model.as_ptr()) }
    }

    pub(crate) fn tensor_bytes(&self) -> u64 {
        // SAFETY: `self.model` is loaded.
        unsafe { sys::llama_model_size(self.model.as_ptr()) }
    }

    /// `general.name`, cut at 255 bytes.
    pub(crate) fn name(&self) -> Option<String> {
        self.metadata(c"general.name")
    }

    /// A value of the file's metadata as text, cut at 255 bytes.
    fn metadata(&self, key: &CStr) -> Option<String> {
        let mut buffer = [0u8; 256];
        // SAFETY: the key is a C string; at most `buffer.len()` bytes are written, with the closing zero.
        let n = unsafe {
            sys::llama_model_meta_val_str(
                self.model.as_ptr(),
                key.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        };
        if n < 0 {
            return None;
        }
        let text = CStr::from_bytes_until_nul(&buffer).ok()?;
        Some(text.to_string_lossy().into_owned()).filter(|s| !s.is_empty())
    }

    /// The default chat template of the file.
    pub(crate) fn chat_template(&self) -> Option<String> {
        // SAFETY: a null name asks for the default template.
        let text = unsafe { sys::llama_model_chat_template(self.model.as_ptr(), ptr::null()) };
        if text.is_null() {
            return None;
        }
        // SAFETY: not null, so a C string that lives as long as the model.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().ok().map(str::to_owned)
    }

    pub(crate) fn bos(&self) -> Option<Token> {
        // SAFETY: the vocabulary lives as long as the model.
        self.existing(unsafe { sys::llama_vocab_bos(self.vocab.as_ptr()) })
    }

    pub(crate) fn eos(&self) -> Option<Token> {
        // SAFETY: the vocabulary lives as long as the model.
        self.existing(unsafe { sys::llama_vocab_eos(self.vocab.as_ptr()) })
    }

    /// Whether prompts of this model start with [`Model::bos`].
    pub(crate) fn wants_bos(&self) -> bool {
        // SAFETY: the vocabulary lives as long as the model.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab.as_ptr()) }
    }

    /// Whether the model ends its turn with this token.
    pub(crate) fn is_end(&self, token: Token) -> bool {
        // SAFETY: the vocabulary lives as long as the model; an unknown token gives false.
        unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), token) }
    }

    /// Text of a token as the vocabulary spells it.
    pub(crate) fn text(&self, token: Token) -> Option<String> {
        let token = self.existing(token)?;
        // SAFETY: `token` is below the vocabulary's size.
        let text = unsafe { sys::llama_vocab_get_text(self.vocab.as_ptr(), token) };
        if text.is_null() {
            return None;
        }
        // SAFETY: not null, so a C string that lives as long as the vocabulary.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().ok().map(str::to_owned)
    }

    /// The spellings that [`Model::tokenise`] reads as control tokens when asked to.
    pub(crate) fn control_texts(&self) -> Vec<String> {
        (0..self.vocabulary())
            .filter(|token| {
                // SAFETY: `token` is below the vocabulary's size.
                let attributes = unsafe { sys::llama_vocab_get_attr(self.vocab.as_ptr(), *token) };
                attributes & (sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN) != 0
            })
            .filter_map(|token| self.text(token))
            .collect()
    }

    /// Appends the tokens of `text`. `controls`: whether spelled control tokens become control tokens. `special`: whether the
    /// tokens that the model wants around a text are added. Returns `None` where `text` is beyond what the C interface can count.
    pub(crate) fn tokenise(
        &self,
        text: &str,
        controls: bool,
        special: bool,
        into: &mut Vec<Token>,
    ) -> Option<()> {
        let bytes = i32::try_from(text.len()).ok()?;
        let call = |tokens: &mut [Token]| {
            let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            // SAFETY: `text` has `bytes` bytes, and at most `room` tokens are written. The vocabulary is only read.
            unsafe {
                sys::llama_tokenize(
                    self.vocab.as_ptr(),
                    text.as_ptr().cast(),
                    bytes,
                    tokens.as_mut_ptr(),
                    room,
                    special,
                    controls,
                )
            }
        };
        let start = into.len();
        into.resize(start.checked_add(text.len().checked_add(4)?)?, 0);
        let mut n = call(into.get_mut(start..)?);
        if n < 0 {
            // More tokens than bytes: the result says how many.
            into.resize(start.checked_add(usize::try_from(n.checked_neg()?).ok()?)?, 0);
            n = call(into.get_mut(start..)?);
        }
        into.truncate(start.checked_add(usize::try_from(n).ok()?)?);
        Some(())
    }

    /// The bytes that a token stands for in an answer. Control tokens have none.
    pub(crate) fn piece(&self, token: Token) -> Vec<u8> {
        let mut buffer = vec![0u8; 64];
        for _ in 0..2 {
            let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: at most `room` bytes are written to `buffer`. `token` came from this vocabulary.
            let n = unsafe {
                sys::llama_token_to_piece(
                    self.vocab.as_ptr(),
                    token,
                    buffer.as_mut_ptr().cast(),
                    room,
                    0,
                    false,
                )
            };
            if let Ok(n) = usize::try_from(n) {
                buffer.truncate(n);
                return buffer;
            }
            buffer.resize(usize::try_from(n.unsigned_abs()).unwrap_or(0), 0);
        }
        Vec::new()
    }

    /// Tokens of the vocabulary: all numbers below this.
    pub(crate) fn vocabulary(&self) -> Token {
        // SAFETY: the vocabulary lives as long as the model.
        unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) }
    }

    fn existing(&self, token: Token) -> Option<Token> {
        (0..self.vocabulary()).contains(&token).then_some(token)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, freed only here; every `Context` that borrows it is gone.
        unsafe { sys::llama_model_free(self.model.as_ptr()) };
    }
}

/// C's buffered file, which closes its descriptor.
struct Stream(NonNull<libc::FILE>);

impl Stream {
    fn new(file: File) -> Option<Self> {
        let descriptor = file.into_raw_fd();
        // SAFETY: the descriptor is open and nobody else's; the mode is a C string.
        let stream = NonNull::new(unsafe { libc::fdopen(descriptor, c"rb".as_ptr()) });
        if stream.is_none() {
            // SAFETY: `fdopen` failed, so that the descriptor is still ours, and it is not used again.
            unsafe { libc::close(descriptor) };
        }
        stream.map(Self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: opened in `new`, closed only here.
        unsafe { libc::fclose(self.0.as_ptr()) };
    }
}

/// The tokens that one computation reads, of any number of sequences.
#[derive(Default)]
pub(crate) struct Batch {
    tokens: Vec<Token>,
    positions: Vec<sys::llama_pos>,
    /// Of each token, how many sequences it belongs to: one.
    ones: Vec<i32>,
    sequences: Vec<Sequence>,
    pointers: Vec<*mut Sequence>,
    outputs: Vec<i8>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.ones.clear();
        self.sequences.clear();
        self.outputs.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Adds a token that stands at `position` of its sequence. With `output` the scores of what follows it are computed.
    pub(crate) fn push(&mut self, token: Token, position: u32, sequence: Sequence, output: bool) {
        self.tokens.push(token);
        // A context has fewer than 2^31 tokens.
        self.positions.push(sys::llama_pos::try_from(position).unwrap_or(sys::llama_pos::MAX));
        self.ones.push(1);
        self.sequences.push(sequence);
        self.outputs.push(output.into());
    }
}

/// What llama.cpp's callbacks see.
struct Watch {
    /// Of all requests that the computation is for; looked at after every operation.
    aborts: Vec<Arc<AtomicBool>>,
    beat: Arc<AtomicU64>,
    rows: Rows,
}

/// Where a computation writes to the attention cache, learnt from its operations before they run: the C interface does not say.
#[derive(Default)]
struct Rows {
    /// The cache's tensors: of each, its first row.
    tensors: Vec<Tensor>,
    /// Of each token of the batch, the row that it has in all of them.
    tokens: Vec<usize>,
    /// Whether anything was not as it must be: then nothing that was learnt counts.
    strange: bool,
}

/// One of the cache's tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tensor {
    data: NonNull<u8>,
    rows: usize,
    /// Bytes of a row, and from one row to the next.
    row: usize,
}

/// How the names of the cache's tensors begin. Were they called otherwise, none would be found, and no cell would be overwritten by itself.
const CACHE: &[u8] = b"cache_";

impl Rows {
    /// Reads an operation. Those that write rows to the attention cache name a row for each token of the batch, all of them the same ones.
    ///
    /// # Safety
    /// `operation` and what it names are alive, and its inputs are filled.
    unsafe fn learn(&mut self, operation: &sys::ggml_tensor) {
        if operation.op != sys::GGML_OP_SET_ROWS {
            return;
        }
        // SAFETY: what an operation writes into is alive, with a name that ends with zero.
        let into = unsafe { operation.view_src.as_ref().map(|whole| CStr::from_ptr(whole.name.as_ptr())) };
        if !into.is_some_and(|name| name.to_bytes().starts_with(CACHE)) {
            return;
        }
        // SAFETY: the second source of this operation is its list of rows, in memory of the processor like everything here.
        let list = unsafe { operation.src[1].as_ref() };
        let list = list.filter(|list| list.type_ == sys::GGML_TYPE_I64 && list.ne[1..] == [1; 3]);
        let (Some(list), Some(data)) = (list, NonNull::new(operation.data.cast::<u8>())) else {
            self.strange = true;
            return;
        };
        let count = usize::try_from(list.ne[0]).unwrap_or(0);
        let (rows, row) = (usize::try_from(operation.ne[1]).unwrap_or(0), operation.nb[1]);
        // One after the other, without anything between them.
        let dense = operation.ne[2..] == [1; 2] && operation.nb[2] == row.saturating_mul(rows);
        let numbers = list.data.cast::<i64>();
        if numbers.is_null() || !numbers.is_aligned() || !dense {
            self.strange = true;
            return;
        }
        // SAFETY: not null and aligned; the list has `count` numbers, and nothing writes to it before the computation.
        let numbers = unsafe { std::slice::from_raw_parts(numbers, count) };
        let tokens = || numbers.iter().map(|number| usize::try_from(*number).unwrap_or(usize::MAX));
        if self.tokens.is_empty() {
            self.tokens.extend(tokens());
        }
        let tensor = Tensor { data, rows, row };
        self.strange |= !tokens().eq(self.tokens.iter().copied()) || tokens().any(|token| token >= rows);
        if !self.tensors.contains(&tensor) {
            self.tensors.push(tensor);
        }
    }
}

/// How a text becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Out of the vectors of its tokens, as the file says.
    Vector,
    /// Not at all, or in a way that is not known here.
    Other,
}

/// How large a context is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Whether it computes vectors of texts. Then every token of a batch has an output.
    pub(crate) embeddings: bool,
    /// Tokens that all sequences have room for together.
    pub(crate) cells: NonZeroU32,
    /// Sequences.
    pub(crate) sequences: NonZeroU32,
    /// The most tokens that one [`Context::decode`] takes.
    pub(crate) batch: NonZeroU32,
    /// The most of them that have an output.
    pub(crate) outputs: NonZeroU32,
    pub(crate) threads: i32,
}

/// An attention cache, which all sequences share, and the buffers to compute with.
pub(crate) struct Context<'m> {
    context: NonNull<sys::llama_context>,
    /// What the callbacks see. A box of our own, which outlives every computation.
    watch: NonNull<Watch>,
    /// Whose the cells are, where that is known.
    cells: Option<Cells>,
    vocabulary: usize,
    dimensions: usize,
    model: PhantomData<&'m Model>,
}

impl<'m> Context<'m> {
    /// `beat` is counted up with every operation of a computation.
    pub(crate) fn new(model: &'m Model, sizes: Sizes, beat: Arc<AtomicU64>) -> Option<Self> {
        let vocabulary = usize::try_from(model.vocabulary()).ok()?;
        let dimensions = usize::try_from(model.dimensions()).ok()?;
        // SAFETY: no precondition.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = sizes.cells.get();
        params.n_batch = sizes.batch.get();
        params.n_ubatch = sizes.batch.get();
        params.n_seq_max = sizes.sequences.get();
        // A buffer of scores for each token of a batch would be larger than many a model.
        params.n_outputs_max = sizes.outputs.get();
        params.embeddings = sizes.embeddings;
        params.n_threads = sizes.threads;
        params.n_threads_batch = sizes.threads;
        params.kv_unified = true;
        params.no_perf = true;
        let watch =
            NonNull::from(Box::leak(Box::new(Watch { aborts: Vec::new(), beat, rows: Rows::default() })));
        let data = watch.as_ptr().cast::<c_void>();
        // Where tokens see only some of the earlier ones, cells are given up behind our back, and batches are cut up.
        let knows_cells = model.shares_beginnings() && !sizes.embeddings;
        if knows_cells {
            params.cb_eval = Some(learn);
            params.cb_eval_user_data = data;
        }
        // SAFETY: the model is loaded and outlives the context by the lifetime `'m`; the pointers in `params` are null, but for a
        // callback's `Watch`, which is freed only in `drop` or below, and which is not called before `decode`. The C side may adjust
        // the model while it makes a context: this crate makes one, on the model's only thread.
        let context = unsafe { sys::llama_init_from_model(model.model.as_ptr(), params) };
        let Some(context) = NonNull::new(context) else {
            // SAFETY: leaked above, and nobody has it any more.
            drop(unsafe { Box::from_raw(watch.as_ptr()) });
            return None;
        };
        let mut this = Self { context, watch, cells: None, vocabulary, dimensions, model: PhantomData };
        if knows_cells {
            this.cells = Some(Cells::new(usize::try_from(this.capacity()).ok()?));
        }
        // SAFETY: `is_set` reads a `Watch` behind `data`, which lives as long as the context. It is called only inside `decode`, which
        // changes what is in it before it computes, and not while `learn` is: that one comes before the computation, on the same thread.
        unsafe { sys::llama_set_abort_callback(this.context.as_ptr(), Some(is_set), data) };
        Some(this)
    }

    /// Whether tokens see earlier ones only.
    pub(crate) fn is_causal(&self) -> bool {
        // SAFETY: `self.context` is alive.
        unsafe { sys::llama_get_causal_attn(self.context.as_ptr()) }
    }

    /// Tokens that fit.
    pub(crate) fn capacity(&self) -> u32 {
        // SAFETY: `self.context` is alive.
        unsafe { sys::llama_n_ctx(self.context.as_ptr()) }
    }

    /// From now on, computes with this many threads.
    pub(crate) fn set_threads(&mut self, threads: i32) {
        // SAFETY: `self.context` is alive.
        unsafe { sys::llama_set_n_threads(self.context.as_ptr(), threads, threads) };
    }

    /// Whether cells are overwritten as soon as they are nobody's. Else only [`Context::clear`] does it.
    pub(crate) fn overwrites(&self) -> bool {
        self.cells.is_some()
    }

    /// Forgets everything, and overwrites the cache with zeros.
    pub(crate) fn clear(&mut self) {
        // SAFETY: `self.context` is alive, and its memory with it.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), true) };
        if let Some(cells) = &mut self.cells {
            cells.clear();
        }
    }

    /// Forgets a sequence: its room is free again.
    pub(crate) fn forget(&mut self, sequence: Sequence) {
        self.cut(sequence, 0);
    }

    /// Forgets what a sequence has from a position on. Not every model can forget a part: those that share beginnings can.
    pub(crate) fn cut(&mut self, sequence: Sequence, from: u32) {
        let first = sys::llama_pos::try_from(from).unwrap_or(sys::llama_pos::MAX);
        // SAFETY: `self.context` is alive, and its memory with it; -1 is the last position.
        unsafe {
            sys::llama_memory_seq_rm(sys::llama_get_memory(self.context.as_ptr()), sequence, first, -1);
        }
        let Some(cells) = &mut self.cells else { return };
        for range in cells.release(sequence, from) {
            self.zero(range);
        }
    }

    /// Overwrites rows of the cache, which are nobody's.
    fn zero(&mut self, range: Range<usize>) {
        for tensor in &self.watch().rows.tensors {
            let end = range.end.min(tensor.rows);
            let start = range.start.min(end);
            // SAFETY: the cache's tensors live as long as the context and are dense (`Rows::learn`); the rows from `start` to `end`
            // are inside. Nothing computes now.
            unsafe {
                tensor.data.add(start * tensor.row).write_bytes(0, (end - start) * tensor.row);
            }
        }
    }

    /// Bytes other than zero in cells that are nobody's. Reads all of the cache. `None` where it is not known whose the cells are, or where
    /// a sequence has more than the cells that are known: both would be a defect with a model that shares beginnings.
    pub(crate) fn stale_bytes(&self) -> Option<u64> {
        let cells = self.cells.as_ref()?;
        let rows = &self.watch().rows;
        let cell: usize = rows.tensors.iter().map(|tensor| tensor.row).sum();
        // SAFETY: `self.context` is alive.
        let sequences = unsafe { sys::llama_n_seq_max(self.context.as_ptr()) };
        for sequence in (0..sequences).filter_map(|sequence| Sequence::try_from(sequence).ok()) {
            // SAFETY: `self.context` is alive; the number is below its sequences.
            let whole = unsafe { sys::llama_state_seq_get_size(self.context.as_ptr(), sequence) };
            let count = cells.count(sequence);
            // Beside the rows a state has a few numbers for each cell and each tensor.
            if whole < count * cell || whole > count * (cell + 32) + 256 + rows.tensors.len() * 32 {
                return None;
            }
        }
        let mut stale = 0;
        for tensor in &rows.tensors {
            for free in cells.free().filter(|free| *free < tensor.rows) {
                // SAFETY: as in `zero`; nothing writes to it now.
                let row = unsafe {
                    std::slice::from_raw_parts(tensor.data.add(free * tensor.row).as_ptr(), tensor.row)
                };
                stale += row.iter().filter(|byte| **byte != 0).count() as u64;
            }
        }
        Some(stale)
    }

    fn watch(&self) -> &Watch {
        // SAFETY: made in `new`, freed in `drop`; it changes only with `&mut self`.
        unsafe { self.watch.as_ref() }
    }

    fn watch_mut(&mut self) -> &mut Watch {
        // SAFETY: as in `watch`; nobody else has a reference while nothing computes.
        unsafe { self.watch.as_mut() }
    }

    /// Lets `to`, which is empty, begin with the first `tokens` tokens of `from`. Nothing is copied: both have the same cells.
    pub(crate) fn share(&mut self, from: Sequence, to: Sequence, tokens: u32) {
        let end = sys::llama_pos::try_from(tokens).unwrap_or(sys::llama_pos::MAX);
        // SAFETY: `self.context` is alive, and its memory with it; both numbers are below the context's sequences.
        unsafe {
            sys::llama_memory_seq_cp(sys::llama_get_memory(self.context.as_ptr()), from, to, 0, end);
        }
        if let Some(cells) = &mut self.cells {
            cells.share(from, to, tokens);
        }
    }

    /// Reads a batch behind what its sequences have read before. Ends early once all of `aborts` are true, if there are any.
    pub(crate) fn decode(
        &mut self,
        batch: &mut Batch,
        aborts: Vec<Arc<AtomicBool>>,
    ) -> Result<(), DecodeStatus> {
        let n_tokens = i32::try_from(batch.len()).map_err(|_| DecodeStatus(-1))?;
        if n_tokens == 0 {
            return Err(DecodeStatus(-1));
        }
        let watch = self.watch_mut();
        watch.aborts = aborts;
        watch.rows.tokens.clear();
        batch.pointers.clear();
        batch.pointers.extend(batch.sequences.iter_mut().map(ptr::from_mut));
        let given = sys::llama_batch {
            n_tokens,
            token: batch.tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: batch.ones.as_mut_ptr(),
            seq_id: batch.pointers.as_mut_ptr(),
            logits: batch.outputs.as_mut_ptr(),
        };
        // SAFETY: every list has `n_tokens` elements and lives until the call returns, as do the sequence numbers behind the
        // pointers; the C side keeps none of them.
        let status = unsafe { sys::llama_decode(self.context.as_ptr(), given) };
        batch.pointers.clear();
        self.note(batch, status == 0);
        if status == 0 { Ok(()) } else { Err(DecodeStatus(status)) }
    }

    /// The vector of the text that the last batch had in this sequence, of a context for vectors. Empty where there is none.
    pub(crate) fn embedding(&self, sequence: Sequence) -> &[f32] {
        // SAFETY: `self.context` is alive; a sequence without a vector gives null.
        let vector = unsafe { sys::llama_get_embeddings_seq(self.context.as_ptr(), sequence) };
        if vector.is_null() {
            return &[];
        }
        // SAFETY: not null, so one number for each of the model's dimensions (its pooling is none that gives fewer), which only
        // `decode` changes, and that needs `&mut self`.
        unsafe { std::slice::from_raw_parts(vector, self.dimensions) }
    }

    /// Notes which cells the tokens of a batch have. Where that is not clear, none are overwritten one by one any more.
    fn note(&mut self, batch: &Batch, computed: bool) {
        let Some(mut cells) = self.cells.take() else { return };
        let rows = &self.watch().rows;
        // No rows: the computation ended before it began.
        let clear =
            !rows.strange && (rows.tokens.len() == batch.len() || rows.tokens.is_empty() && !computed);
        let mut tokens = rows.tokens.iter().zip(batch.sequences.iter().zip(&batch.positions));
        let noted = clear
            && tokens.all(|(row, (sequence, position))| {
                u32::try_from(*position).is_ok_and(|position| cells.write(*row, *sequence, position))
            });
        self.cells = noted.then_some(cells);
    }

    /// The scores of all tokens behind the token at `index` of the last batch, which had an output. Empty where it had none.
    pub(crate) fn scores(&self, index: usize) -> &[f32] {
        let Ok(index) = i32::try_from(index) else { return &[] };
        // SAFETY: `self.context` is alive; an index without output gives null.
        let scores = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), index) };
        if scores.is_null() {
            return &[];
        }
        // SAFETY: not null, so one number for each token of the vocabulary, which only `decode` changes, and that needs
        // `&mut self`.
        unsafe { std::slice::from_raw_parts(scores, self.vocabulary) }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed only here; the context goes before what its callbacks see.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            drop(Box::from_raw(self.watch.as_ptr()));
        }
    }
}

/// Is shown each operation of a computation before it runs, and never wants its result.
unsafe extern "C" fn learn(operation: *mut sys::ggml_tensor, before: bool, data: *mut c_void) -> bool {
    if before {
        // SAFETY: `data` is the pointer given in `Context::new`, to a `Watch` that the context keeps alive, and `decode`'s thread is
        // inside the C side, on this call, so that nobody else has a reference. The operation is one of the graph that is to be
        // computed next, whose inputs are filled.
        unsafe {
            let watch = &mut *data.cast::<Watch>();
            watch.rows.learn(&*operation);
        }
    }
    false
}

unsafe extern "C" fn is_set(data: *mut c_void) -> bool {
    // SAFETY: `data` is the pointer given in `Context::new`, to a `Watch` that the context keeps alive.
    let watch = unsafe { &*data.cast::<Watch>() };
    watch.beat.fetch_add(1, Ordering::Relaxed);
    !watch.aborts.is_empty() && watch.aborts.iter().all(|abort| abort.load(Ordering::Acquire))
}

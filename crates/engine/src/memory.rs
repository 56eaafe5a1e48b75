//! How much memory a model needs, from its file's header and the options, before anything is loaded.
//!
//! The attention cache is counted as llama.cpp makes it: a key and a value of two bytes a number for each layer, head of keys and
//! cell. The buffers of a computation are an estimate from above for the usual layers; a test holds it against what a real model
//! takes.

use std::fs::File;

use crate::error::EngineError;
use crate::ffi;
use crate::gguf::{self, Header};
use crate::llama::{BATCH_TOKENS, EngineOptions};

/// Bytes that an engine takes beside what a machine runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryNeed {
    /// The file: its pages are the only copy of the weights.
    pub weights: u64,
    /// The attention cache of all requests.
    pub cache: u64,
    /// What a computation works in, and the engine's process itself.
    pub buffers: u64,
    /// Cells of the attention cache.
    pub cache_tokens: u64,
}

impl MemoryNeed {
    /// Of a GGUF file.
    ///
    /// # Errors
    /// The `engine.model.*` errors about its header.
    pub fn of(file: &File, options: EngineOptions) -> Result<Self, EngineError> {
        let weights = file.metadata().map_err(|e| EngineError::Unreadable { kind: e.kind() })?.len();
        let header = gguf::check_file(file, ffi::block_of)?;
        Ok(Self { weights, ..Self::beside(&header, options) })
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.buffers)
    }

    fn beside(header: &Header, options: EngineOptions) -> Self {
        let one = |name| header.numbers.get(name).and_then(|numbers| numbers.first()).copied().unwrap_or(0);
        let (width, inner, layers) =
            (one("embedding_length"), one("feed_forward_length"), one("block_count"));
        let trained = match one("context_length") {
            0 => u64::from(options.context_tokens.get()),
            trained => trained,
        };
        let context = u64::from(options.context_tokens.get()).min(trained);
        let embeds = one("pooling_type") > 0;
        let cells = if embeds { context } else { context.max(options.cache_tokens.get().into()) };
        let batch = if embeds { cells } else { u64::from(BATCH_TOKENS.get()).min(cells) };
        let batch = batch.max(options.parallel.get().into());

        let heads = one("attention.head_count").max(1);
        let length = |name| match one(name) {
            0 => width / heads,
            length => length,
        };
        let both = length("attention.key_length").saturating_add(length("attention.value_length"));
        let kv_heads = header.numbers.get("attention.head_count_kv").map_or(&[][..], Vec::as_slice);
        let kv_heads: u64 = match kv_heads {
            [] => heads.saturating_mul(layers),
            [all] => all.saturating_mul(layers),
            each => each.iter().fold(0, |sum, heads| sum.saturating_add(*heads)),
        };
        let cache = product(&[kv_heads, both, CACHE_NUMBER, cells.next_multiple_of(256)]);

        let outputs = if embeds { batch } else { u64::from(options.parallel.get()).saturating_mul(2) };
        let activations =
            product(&[batch, width.saturating_mul(4).saturating_add(inner.saturating_mul(3)), 4]);
        // Which cell each token of a batch sees, in two forms.
        let mask = product(&[batch, cells, 6]);
        // As they are computed, and as they are kept.
        let scores = product(&[outputs, header.vocabulary, 8]);
        let buffers =
            [activations, mask, scores, PROCESS].iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        Self { weights: 0, cache, buffers, cache_tokens: cells }
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor))
}

/// Bytes of a number in the cache (16-bit).
const CACHE_NUMBER: u64 = 2;
/// The process without a model: its code, its vocabulary, the sets of tokens that schemas need, threads.
const PROCESS: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use super::*;

    fn header(numbers: &[(&'static str, &[u64])]) -> Header {
        let numbers =
            numbers.iter().map(|(name, numbers)| (*name, numbers.to_vec())).collect::<BTreeMap<_, _>>();
        Header { architecture: "x".into(), numbers, vocabulary: 1000 }
    }

    fn options(context: u32, cache: u32, parallel: u32) -> EngineOptions {
        let n = |n| NonZeroU32::new(n).unwrap();
        EngineOptions {
            context_tokens: n(context),
            cache_tokens: n(cache),
            parallel: n(parallel),
            ..EngineOptions::default()
        }
    }

    #[test]
    fn the_cache_is_counted_by_heads_and_cells() {
        let plain: &[(&'static str, &[u64])] = &[
            ("block_count", &[30]),
            ("embedding_length", &[576]),
            ("attention.head_count", &[9]),
            ("attention.head_count_kv", &[3]),
            ("context_length", &[8192]),
        ];
        let cache =
            |numbers: &[(&'static str, &[u64])], options| MemoryNeed::beside(&header(numbers), options).cache;
        // 30 layers, 3 heads, 64 and 64 numbers of 2 bytes.
        let cell = 30 * 3 * 128 * 2;
        assert_eq!(cache(plain, options(4096, 16_384, 8)), cell * 16_384);
        assert_eq!(cache(plain, options(4096, 1, 8)), cell * 4096, "at least one request fits");
        assert_eq!(
            cache(plain, options(100_000, 1, 8)),
            cell * 8192,
            "no more than the model was trained with"
        );
        assert_eq!(
            cache(&plain[..3], options(256, 256, 8)),
            30 * 9 * 128 * 2 * 256,
            "as many heads as of queries"
        );
        let each =
            [plain, &[("attention.head_count_kv", &[1, 0, 2][..]), ("attention.key_length", &[16])]].concat();
        assert_eq!(cache(&each, options(256, 256, 8)), 3 * (16 + 64) * 2 * 256);
        let embeds = [plain, &[("pooling_type", &[1][..])]].concat();
        assert_eq!(cache(&embeds, options(512, 16_384, 8)), cell * 512, "nothing is kept of an input");
    }

    #[test]
    fn impossible_numbers_do_not_overflow() {
        let numbers = [("block_count", &[u64::MAX][..]), ("embedding_length", &[u64::MAX])];
        assert_eq!(MemoryNeed::beside(&header(&numbers), EngineOptions::default()).total(), u64::MAX);
    }
}

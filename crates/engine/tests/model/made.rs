//! A made-up BERT with one layer: small enough to be computed a second time here, by the definition and not by llama.cpp.

use std::collections::BTreeMap;

pub(crate) const WIDTH: usize = 32;
const HEADS: usize = 2;
const INNER: usize = 64;
/// Tokens that fit.
pub(crate) const CONTEXT: usize = 64;
const CLS: i32 = 2;
const SEP: i32 = 3;
const EPSILON: f64 = 1e-12;
/// In the form of the tokeniser: a word begins with a mark.
const WORDS: [&str; 14] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁a", "▁cat", "▁dog", "▁sat", "▁[", "cls", "]", "▁sep", "s",
];

/// How a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    None = 0,
    Mean = 1,
    Cls = 2,
    Last = 3,
    Rank = 4,
}

/// The tensors: shape (the inner dimension first) and numbers.
fn tensors() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut tensors = BTreeMap::new();
    let mut add = |name: &str, shape: &[usize], around: f32, spread: f32| {
        let salt = name.bytes().fold(7u32, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        let mut state = salt;
        let numbers = (0..shape.iter().product::<usize>()).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            around + spread * ((state >> 8) as f32 / (1 << 24) as f32 - 0.5)
        });
        tensors.insert(name.to_owned(), (shape.to_vec(), numbers.collect()));
    };
    add("token_embd.weight", &[WIDTH, WORDS.len()], 0.0, 2.0);
    add("position_embd.weight", &[WIDTH, CONTEXT], 0.0, 1.0);
    add("token_types.weight", &[WIDTH, 2], 0.0, 0.5);
    for norm in ["token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"] {
        add(&format!("{norm}.weight"), &[WIDTH], 1.0, 0.5);
        add(&format!("{norm}.bias"), &[WIDTH], 0.0, 0.5);
    }
    for (name, from, to) in [
        ("attn_q", WIDTH, WIDTH),
        ("attn_k", WIDTH, WIDTH),
        ("attn_v", WIDTH, WIDTH),
        ("attn_output", WIDTH, WIDTH),
        ("ffn_up", WIDTH, INNER),
        ("ffn_down", INNER, WIDTH),
    ] {
        add(&format!("blk.0.{name}.weight"), &[from, to], 0.0, 1.0);
        add(&format!("blk.0.{name}.bias"), &[to], 0.0, 0.5);
    }
    tensors
}

/// The file.
pub(crate) fn bert(pooling: Pooling) -> Vec<u8> {
    let number = |value: u32| [4u32.to_le_bytes(), value.to_le_bytes()].concat();
    let truth = |value: bool| [&7u32.to_le_bytes()[..], &[value.into()]].concat();
    let float = |value: f32| [6u32.to_le_bytes(), value.to_le_bytes()].concat();
    let text = |value: &str| [&8u32.to_le_bytes()[..], &string(value)].concat();
    let list = |kind: u32, items: Vec<Vec<u8>>| {
        let head =
            [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &(items.len() as u64).to_le_bytes()].concat();
        [head, items.concat()].concat()
    };
    // Control tokens, and words.
    let kind = |index: usize| if index < 5 { 3i32 } else { 1 };
    let metadata: Vec<(&str, Vec<u8>)> = vec![
        ("general.architecture", text("bert")),
        ("general.name", text("made-up")),
        ("bert.context_length", number(CONTEXT as u32)),
        ("bert.embedding_length", number(WIDTH as u32)),
        ("bert.block_count", number(1)),
        ("bert.feed_forward_length", number(INNER as u32)),
        ("bert.attention.head_count", number(HEADS as u32)),
        ("bert.attention.layer_norm_epsilon", float(EPSILON as f32)),
        ("bert.attention.causal", truth(false)),
        ("bert.pooling_type", number(pooling as u32)),
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.token_type_count", number(2)),
        ("tokenizer.ggml.tokens", list(8, WORDS.iter().map(|word| string(word)).collect())),
        (
            "tokenizer.ggml.token_type",
            list(5, (0..WORDS.len()).map(|index| kind(index).to_le_bytes().to_vec()).collect()),
        ),
        ("tokenizer.ggml.bos_token_id", number(CLS as u32)),
        ("tokenizer.ggml.seperator_token_id", number(SEP as u32)),
        ("tokenizer.ggml.unknown_token_id", number(1)),
        ("tokenizer.ggml.padding_token_id", number(0)),
        ("tokenizer.ggml.mask_token_id", number(4)),
    ];
    let tensors = tensors();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &(tensors.len() as u64).to_le_bytes()].concat();
    file.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        file.extend(string(key));
        file.extend(value);
    }
    let mut data = Vec::new();
    for (name, (shape, numbers)) in tensors {
        file.extend(string(&name));
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|size| file.extend((*size as u64).to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        numbers.iter().for_each(|number| data.extend(number.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The tokens of words of this vocabulary, as a text of them is read.
pub(crate) fn tokens(words: &[&str]) -> Vec<i32> {
    let of =
        |word: &&str| WORDS.iter().position(|known| known.trim_start_matches('▁') == *word).unwrap() as i32;
    [vec![CLS], words.iter().map(of).collect(), vec![SEP]].concat()
}

/// What the vector must be, of length 1.
pub(crate) fn vector(tokens: &[i32], pooling: Pooling) -> Vec<f64> {
    let tensors = tensors();
    let of = |name: &str| -> Vec<f64> { tensors[name].1.iter().map(|number| f64::from(*number)).collect() };
    let linear = |input: &[f64], name: &str| -> Vec<f64> {
        let (weight, bias) = (of(&format!("blk.0.{name}.weight")), of(&format!("blk.0.{name}.bias")));
        let rows = weight.chunks(input.len()).zip(bias);
        rows.map(|(row, bias)| dot(row, input) + bias).collect()
    };
    let norm = |input: &[f64], name: &str| -> Vec<f64> {
        let mean = input.iter().sum::<f64>() / input.len() as f64;
        let variance = input.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / input.len() as f64;
        let (weight, bias) = (of(&format!("{name}.weight")), of(&format!("{name}.bias")));
        let scaled = input.iter().map(|x| (x - mean) / (variance + EPSILON).sqrt());
        scaled.zip(weight).zip(bias).map(|((x, weight), bias)| x * weight + bias).collect()
    };
    let row = |name: &str, index: usize| of(name)[index * WIDTH..][..WIDTH].to_vec();
    let first: Vec<Vec<f64>> = tokens
        .iter()
        .enumerate()
        .map(|(position, token)| {
            let token = row("token_embd.weight", *token as usize);
            let sum =
                add(&add(&token, &row("position_embd.weight", position)), &row("token_types.weight", 0));
            norm(&sum, "token_embd_norm")
        })
        .collect();
    let part = |name: &str| -> Vec<Vec<f64>> { first.iter().map(|x| linear(x, name)).collect() };
    let (q, k, v) = (part("attn_q"), part("attn_k"), part("attn_v"));
    let head = WIDTH / HEADS;
    let out: Vec<Vec<f64>> = first
        .iter()
        .zip(&q)
        .map(|(input, q)| {
            let mut seen = Vec::new();
            for at in (0..WIDTH).step_by(head) {
                let scores: Vec<f64> = k
                    .iter()
                    .map(|k| (dot(&q[at..][..head], &k[at..][..head]) / (head as f64).sqrt()).exp())
                    .collect();
                let total: f64 = scores.iter().sum();
                for n in at..at + head {
                    seen.push(scores.iter().zip(&v).map(|(score, v)| score / total * v[n]).sum());
                }
            }
            let attended = norm(&add(&linear(&seen, "attn_output"), input), "blk.0.attn_output_norm");
            let inner: Vec<f64> = linear(&attended, "ffn_up").into_iter().map(gelu).collect();
            norm(&add(&linear(&inner, "ffn_down"), &attended), "blk.0.layer_output_norm")
        })
        .collect();
    let pooled: Vec<f64> = match pooling {
        Pooling::Mean => {
            (0..WIDTH).map(|n| out.iter().map(|x| x[n]).sum::<f64>() / out.len() as f64).collect()
        }
        Pooling::Cls => out[0].clone(),
        Pooling::Last => out[out.len() - 1].clone(),
        Pooling::None | Pooling::Rank => panic!("no vector"),
    };
    let length = dot(&pooled, &pooled).sqrt();
    pooled.into_iter().map(|x| x / length).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh())
}

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::aead::{Chunks, entropy};
use super::cells::{self, CellReader, Shape};
use super::hpke::{self, Private};
use super::keys::{Aead, Kem, KeyPairs, SealingKey};
use super::message::{AnswerReader, Body, END, Head, Request, bucket, write_content};
use super::request::{Labels, info};
use super::{SealedError, configuration_digest};

fn pairs(generation: u8) -> KeyPairs {
    KeyPairs::derive(generation, &Zeroizing::new([7; 64]))
}

fn key(pairs: &KeyPairs, kem: Kem) -> SealingKey {
    SealingKey::choose_of(pairs.configurations(), kem).unwrap()
}

fn open_answer(
    opener: super::AnswerOpener,
    answer: &[u8],
    step: usize,
) -> Result<Vec<u8>, (Vec<u8>, SealedError)> {
    let mut opener = opener;
    let mut out = Zeroizing::new(Vec::new());
    for piece in answer.chunks(step) {
        if let Err(error) = opener.push(piece, &mut out) {
            return Err((out.to_vec(), error));
        }
    }
    match opener.finish() {
        Ok(last) => Ok([&out[..], &last].concat()),
        Err(error) => Err((out.to_vec(), error)),
    }
}

#[test]
fn a_request_and_its_answer_with_every_algorithm() {
    let long: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    for kem in [Kem::XWing, Kem::X25519] {
        for aead in [Aead::Aes256Gcm, Aead::Aes128Gcm] {
            for request in [&b""[..], b"a request", &long] {
                let pairs = pairs(3);
                let key = SealingKey { aead, ..key(&pairs, kem) };
                let sealed = key.seal(request, &Zeroizing::new([1; 64])).unwrap();
                let opened = pairs.open(&sealed.message, &[9; 32]).unwrap();
                assert_eq!(opened.request.expose(), request);

                let mut sealer = opened.answer;
                let mut answer = sealer.seal(b"first").unwrap();
                answer.extend(sealer.seal(&long).unwrap());
                answer.extend(sealer.finish().unwrap());
                let expected = [b"first", &long[..]].concat();
                for step in [1, 7, 100_000] {
                    let again = key.seal(request, &Zeroizing::new([1; 64])).unwrap();
                    assert_eq!(open_answer(again.answer, &answer, step).unwrap(), expected);
                }
            }
        }
    }
}

/// OHT-04, OHT-05: any bit that changes, and any end but its own, is an error.
#[test]
fn a_request_that_was_changed_or_cut_is_refused() {
    let pairs = pairs(0);
    let sealed = key(&pairs, Kem::X25519).seal(b"a request", &Zeroizing::new([1; 64])).unwrap();
    for at in 0..sealed.message.len() {
        for bit in 0..8 {
            let mut changed = sealed.message.clone();
            changed[at] ^= 1 << bit;
            assert!(pairs.open(&changed, &[0; 32]).is_err(), "bit {bit} of byte {at}");
        }
        assert!(pairs.open(&sealed.message[..at], &[0; 32]).is_err(), "{at}");
    }
    let longer = [&sealed.message[..], &[0]].concat();
    let code = |message: &[u8]| pairs.open(message, &[0; 32]).err().map(SealedError::code);
    assert_eq!(code(&longer), Some("sealed.not-authentic"));
    assert_eq!(code(&[&sealed.message[..], &[0; 20_000]].concat()), Some("sealed.trailing"));
    // Another replica, or another generation, of the same algorithms.
    let other = KeyPairs::derive(0, &Zeroizing::new([8; 64]));
    assert!(matches!(other.open(&sealed.message, &[0; 32]), Err(SealedError::NotAuthentic { number: 0 })));
    let later = KeyPairs::derive(1, &Zeroizing::new([7; 64]));
    assert!(matches!(later.open(&sealed.message, &[0; 32]), Err(SealedError::UnknownKey { id: 1 })));
    // The header says another algorithm than the key's.
    let mut downgraded = sealed.message.clone();
    downgraded[0] = 0;
    assert_eq!(code(&downgraded), Some("sealed.suite"));
    // A chunk that claims to be long.
    let mut long = sealed.message[..39].to_vec();
    long.extend_from_slice(&[0x80, 1, 0, 0]);
    assert_eq!(code(&long), Some("sealed.chunk-too-long"));
    assert_eq!(code(&sealed.message[..39]), Some("sealed.cut"));
    assert_eq!(code(&[]), Some("sealed.cut"));
}

/// OHT-08: an answer that is cut between two chunks, or in one, is not whole; chunks keep their places; and the answer to another
/// request is none.
#[test]
fn an_answer_that_was_cut_moved_or_changed_is_refused() {
    let pairs = pairs(0);
    let exchange = || {
        let sealed = key(&pairs, Kem::X25519).seal(b"a request", &Zeroizing::new([1; 64])).unwrap();
        let mut sealer = pairs.open(&sealed.message, &[9; 32]).unwrap().answer;
        let pieces: Vec<_> =
            [&b"one"[..], b"two", b"three"].iter().map(|p| sealer.seal(p).unwrap()).collect();
        (sealed.answer, pieces, sealer.finish().unwrap())
    };
    let whole = |pieces: &[Vec<u8>], end: &[u8]| [&pieces.concat()[..], end].concat();
    let (_, pieces, end) = exchange();
    let answer = whole(&pieces, &end);
    for cut in 0..answer.len() {
        let (opened, error) = open_answer(exchange().0, &answer[..cut], 5).unwrap_err();
        assert!(b"onetwothree".starts_with(&opened));
        assert!(matches!(error, SealedError::Cut | SealedError::NotAuthentic { .. }), "{cut}: {error}");
    }
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        assert!(open_answer(exchange().0, &changed, 1000).is_err(), "{at}");
    }
    let nonce = &pieces[0][..32];
    let first = pieces[0][32..].to_vec();
    for order in [[1, 0, 2], [0, 2, 1], [0, 0, 1], [2, 1, 0]] {
        let chunks = [first.clone(), pieces[1].clone(), pieces[2].clone()];
        let mut moved = nonce.to_vec();
        order.iter().for_each(|n| moved.extend_from_slice(&chunks[*n]));
        moved.extend_from_slice(&end);
        assert!(open_answer(exchange().0, &moved, 1000).is_err(), "{order:?}");
    }
    let left_out = [nonce, &first, &pieces[2], &end].concat();
    assert!(matches!(
        open_answer(exchange().0, &left_out, 1000),
        Err((_, SealedError::NotAuthentic { number: 1 }))
    ));
    let other = key(&pairs, Kem::X25519).seal(b"a request", &Zeroizing::new([2; 64])).unwrap();
    assert!(open_answer(other.answer, &answer, 1000).is_err());
    assert!(matches!(open_answer(exchange().0, &[], 1), Err((_, SealedError::Cut))));
}

/// OHT-01, OHT-03.
#[test]
fn configurations_are_chosen_from_strictly() {
    let pairs = pairs(5);
    let list = pairs.configurations();
    let chosen = SealingKey::choose(list).unwrap();
    assert_eq!((chosen.id(), chosen.kem(), chosen.aead), (10, Kem::XWing, Aead::Aes256Gcm));
    assert_eq!(key(&pairs, Kem::X25519).id(), 11);
    assert!(pairs.has(10) && pairs.has(11) && !pairs.has(12));
    let xwing = 2 + usize::from(u16::from_be_bytes([list[0], list[1]]));
    let only_x25519 = &list[xwing..];
    assert_eq!(SealingKey::choose(only_x25519), Err(SealedError::NoKey));
    assert_eq!(SealingKey::choose(&[]), Err(SealedError::NoKey));
    // The order of the list does not matter.
    assert_eq!(SealingKey::choose(&[only_x25519, &list[..xwing]].concat()), Ok(chosen));
    for cut in 1..list.len() {
        let expected = if cut == xwing { Ok(()) } else { Err(SealedError::Configuration) };
        assert_eq!(SealingKey::choose(&list[..cut]).map(|_| ()), expected, "{cut}");
    }
    // Unknown algorithms are passed over: a KEM, then both suites.
    let mut unknown = list.to_vec();
    unknown[3] = 0xff;
    assert_eq!(SealingKey::choose(&unknown), Err(SealedError::NoKey));
    let mut unknown = list.to_vec();
    for suite in [xwing - 8, xwing - 4] {
        unknown[suite] = 0xff;
    }
    assert_eq!(SealingKey::choose(&unknown), Err(SealedError::NoKey));
    let mut second = list.to_vec();
    second[xwing - 8] = 0xff;
    assert_eq!(SealingKey::choose(&second).unwrap().aead, Aead::Aes128Gcm);
    let mut odd = list[..xwing].to_vec();
    odd[xwing - 9] = 7;
    assert_eq!(SealingKey::choose(&odd), Err(SealedError::Configuration));
    assert_ne!(configuration_digest(list), configuration_digest(only_x25519));
}

/// RFC 9458 appendix A: the request opens, and the answer's keys and bytes are those of the appendix.
#[test]
fn the_example_of_rfc_9458_opens() {
    let bytes = |hexadecimal: &str| hex::decode(hexadecimal).unwrap();
    let secret =
        Private::from_bytes(&bytes("3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a"));
    let encapsulated = bytes(
        "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b4726374e469135906992e\
         1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525",
    );
    let plain = Labels { request: b"message/bhttp request", response: b"message/bhttp response" };
    let (header, rest) = encapsulated.split_at(7);
    let (enc, ciphertext) = rest.split_at(32);
    let suite = (Kem::X25519, Aead::Aes128Gcm);
    let mut context = hpke::receiver(suite, &secret, enc, &info(&plain, header)).unwrap();
    let request = context.open(ciphertext, b"").unwrap();
    assert_eq!(*request, bytes("00034745540568747470730b6578616d706c652e636f6d012f"));
    let read = Request::read(&request).unwrap();
    assert_eq!((read.method, read.authority, read.target), ("GET", "example.com", "/"));

    let mut exported = [0; 16];
    context.export(plain.response, &mut exported).unwrap();
    let answer = bytes("c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd");
    let (nonce, ciphertext) = answer.split_at(entropy(Aead::Aes128Gcm));
    let mut chunks = Chunks::new(Aead::Aes128Gcm, &exported, enc, nonce).unwrap();
    assert_eq!(*chunks.open(ciphertext, b"").unwrap(), bytes("0140c8"));
}

/// RFC 9180 appendix A.1.1: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
#[test]
fn the_example_of_rfc_9180_opens() {
    let bytes = |hexadecimal: &str| hex::decode(hexadecimal).unwrap();
    let ikm = bytes("6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037");
    let (private, public) = hpke::derive(Kem::X25519, &ikm);
    assert_eq!(public, bytes("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"));
    let enc = bytes("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let mut context = hpke::receiver((Kem::X25519, Aead::Aes128Gcm), &private, &enc, &info).unwrap();
    let opened = context.open(
        &bytes("f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"),
        &bytes("436f756e742d30"),
    );
    assert_eq!(*opened.unwrap(), b"Beauty is truth, truth beauty");
    let mut exported = [0; 32];
    context.export(b"", &mut exported).unwrap();
    assert_eq!(exported.to_vec(), bytes("3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"));
}

/// Ours and another implementation of the draft understand each other, in both directions. It knows AES-128-GCM for streams.
#[test]
fn another_implementation_understands_ours() {
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    use ohttp::hpke::{Aead as TheirAead, Kdf, Kem as TheirKem};
    use ohttp::{ClientRequest, KeyConfig, Server, SymmetricSuite};

    futures_util::future::FutureExt::now_or_never(async {
        for (ours, theirs) in [(Kem::XWing, TheirKem::XWing), (Kem::X25519, TheirKem::X25519Sha256)] {
            // Our client, their server.
            let suite = vec![SymmetricSuite::new(Kdf::HkdfSha256, TheirAead::Aes128Gcm)];
            let config = KeyConfig::new(1, theirs, suite).unwrap();
            let list = KeyConfig::encode_list(&[AsConfig(&config)]).unwrap();
            let key = SealingKey::choose_of(&list, ours).unwrap();
            let long = vec![5; 40_000];
            let sealed = key.seal(&long, &Zeroizing::new([1; 64])).unwrap();
            let mut stream = Server::new(config).unwrap().decapsulate_stream(&sealed.message[..]);
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            assert_eq!(request, long);
            let mut answer = Vec::new();
            let mut writer = stream.response(&mut answer).unwrap();
            writer.write_all(b"an answer").await.unwrap();
            writer.close().await.unwrap();
            drop(writer);
            assert_eq!(open_answer(sealed.answer, &answer, 3).unwrap(), b"an answer");

            // Their client, our server.
            let pairs = pairs(1);
            let mut one = pairs.configurations();
            if ours == Kem::X25519 {
                one = &one[2 + usize::from(u16::from_be_bytes([one[0], one[1]]))..];
            }
            let one = &one[2..2 + usize::from(u16::from_be_bytes([one[0], one[1]]))];
            // They take the first suite: without AES-256-GCM.
            let mut with_one_suite = one.to_vec();
            with_one_suite.drain(one.len() - 8..one.len() - 4);
            let len_at = with_one_suite.len() - 5;
            with_one_suite[len_at] = 4;
            let message = Shared::default();
            let client = ClientRequest::from_encoded_config(&with_one_suite).unwrap();
            let mut writer = client.encapsulate_stream(message.clone()).unwrap();
            writer.write_all(&long).await.unwrap();
            writer.close().await.unwrap();
            let opened = pairs.open(&message.0.borrow(), &[3; 32]).unwrap();
            assert_eq!(*opened.request.expose(), long);
            let mut sealer = opened.answer;
            let answer =
                [sealer.seal(b"an ").unwrap(), sealer.seal(b"answer").unwrap(), sealer.finish().unwrap()];
            let answer = answer.concat();
            let mut read = Vec::new();
            writer.response(&answer[..]).unwrap().read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"an answer");
        }
    })
    .expect("nothing waits");
}

/// What was written, also while the writer is there.
#[derive(Clone, Default)]
struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl futures_util::AsyncWrite for Shared {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_close(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

struct AsConfig<'a>(&'a ohttp::KeyConfig);

impl AsRef<ohttp::KeyConfig> for AsConfig<'_> {
    fn as_ref(&self) -> &ohttp::KeyConfig {
        self.0
    }
}

#[test]
fn a_binary_request_is_read_as_it_was_written() {
    let fields = vec![("content-type", &b"application/json"[..]), ("authorization", b"Bearer x")];
    let request = Request {
        method: "POST",
        target: "/v1/chat/completions?x=1",
        authority: "host",
        fields,
        body: Body(b"{\"secret\":1}"),
    };
    let written = request.write();
    assert_eq!(written.len(), 1024);
    let read = Request::read(&written).unwrap();
    assert_eq!((read.method, read.target, read.authority), ("POST", "/v1/chat/completions?x=1", "host"));
    assert_eq!(read.fields, request.fields);
    assert_eq!(read.body.0, request.body.0);
    let mut printed = String::new();
    write!(printed, "{read:?}").unwrap();
    assert!(!printed.contains("secret") && printed.contains("body: Body"));
    // Another implementation reads the same.
    let theirs = bhttp::Message::read_bhttp(&mut std::io::Cursor::new(&written[..])).unwrap();
    assert_eq!(theirs.control().path(), Some(&b"/v1/chat/completions?x=1"[..]));
    assert_eq!(theirs.header().get(b"authorization"), Some(&b"Bearer x"[..]));
    assert_eq!(theirs.content(), b"{\"secret\":1}");
    // And we read what it writes.
    let mut message =
        bhttp::Message::request(b"GET".into(), b"https".into(), b"h".into(), b"/v1/models".into());
    message.put_header("accept", "*/*");
    let mut bytes = Vec::new();
    message.write_bhttp(bhttp::Mode::KnownLength, &mut bytes).unwrap();
    let read = Request::read(&bytes).unwrap();
    assert_eq!((read.method, read.target, read.fields), ("GET", "/v1/models", vec![("accept", &b"*/*"[..])]));
    assert_eq!([bucket(0), bucket(1024), bucket(1025), bucket(40_000)], [1024, 1024, 2048, 65_536]);
}

/// OHT-06, OHT-09.
#[test]
fn what_is_no_binary_message_is_refused() {
    let part = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let start = |framing: u8| [&[framing][..], &part("GET"), &part("https"), &part("h"), &part("/")].concat();
    let read = |bytes: &[u8]| Request::read(bytes).map(|_| ());
    assert_eq!(read(&[&start(0)[..], &[0, 0, 0]].concat()), Ok(()));
    assert_eq!(read(&[&start(0)[..], &[0]].concat()), Ok(()));
    let message = |what| Err(SealedError::Message { what });
    for framing in [1, 2, 3, 4] {
        assert_eq!(read(&[&start(framing)[..], &[0]].concat()), message("not a request of known length"));
    }
    assert_eq!(read(&start(0)), Ok(()));
    assert_eq!(read(&start(0)[..10]), message("it ends too early"));
    assert_eq!(read(&[&start(0)[..], &[0, 5, 1]].concat()), message("it ends too early"));
    assert_eq!(read(&[&start(0)[..], &[0, 0, 4, 1, b'a', 1, b'b']].concat()), message("a trailer"));
    assert_eq!(read(&[&start(0)[..], &[0, 0, 0, 1]].concat()), message("padding that is not zero"));
    for bad in ["A", ":path", "a b", "a\u{e9}"] {
        let field = [&part(bad)[..], &part("x")].concat();
        let section = [&[u8::try_from(field.len()).unwrap()][..], &field].concat();
        assert_eq!(read(&[&start(0)[..], &section].concat()), message("a name that is none"), "{bad}");
    }
    let many = [&b"\x01a\x01b"[..]].repeat(65).concat();
    let section = [&[0x41, 4][..], &many].concat();
    assert_eq!(many.len(), 260);
    assert_eq!(read(&[&start(0)[..], &section].concat()), message("too many fields"));

    let answer = |bytes: &[u8]| AnswerReader::default().push(bytes).map(|_| ());
    assert_eq!(answer(&[1, 0x40, 200, 0]), message("not an answer of indeterminate length"));
    assert_eq!(answer(&[3, 0x40, 100, 0]), message("a status that is not final"));
    assert_eq!(answer(&[3, 0x40, 200, 1, b'A', 0, 0]), message("a name that is none"));
    assert_eq!(
        answer(&[3, 0x40, 200, 0, 0, 1, b'a', 1, b'b']),
        message("a trailer, or padding that is not zero")
    );
    let endless = [&[3, 0x40, 200, 1, b'a', 0x80, 2, 0, 0][..], &vec![b'x'; 70_000]].concat();
    assert_eq!(answer(&endless), message("too long a head"));
    let mut reader = AnswerReader::default();
    let started = reader.push(&[3, 0x40, 200, 0, 2, b'a']).unwrap();
    assert_eq!((started.content.as_slice(), started.ended), (&b"a"[..], false));
    assert_eq!(reader.finish(), message("it ends too early"));
}

#[test]
fn a_binary_answer_is_read_as_it_comes() {
    let head = Head { status: 429, fields: vec![("retry-after".into(), b"5".into())] };
    let mut bytes = head.write();
    write_content(b"one", &mut bytes);
    write_content(b"", &mut bytes);
    write_content(&[b'x'; 300], &mut bytes);
    bytes.extend_from_slice(&END);
    let theirs = bhttp::Message::read_bhttp(&mut std::io::Cursor::new(&bytes[..])).unwrap();
    assert_eq!(theirs.control().status().map(u16::from), Some(429));
    assert_eq!(theirs.content().len(), 303);
    bytes.extend_from_slice(&[0; 100]);
    for step in [1, 2, 5, 1000] {
        let mut reader = AnswerReader::default();
        let (mut found_head, mut content, mut ended) = (None, Vec::new(), false);
        for piece in bytes.chunks(step) {
            assert!(!ended || piece.iter().all(|byte| *byte == 0));
            let found = reader.push(piece).unwrap();
            found_head = found_head.or(found.head);
            content.extend_from_slice(&found.content);
            ended |= found.ended;
        }
        reader.finish().unwrap();
        assert_eq!(found_head.as_ref(), Some(&head));
        assert_eq!((content.len(), ended), (303, true));
    }
}

/// OHT-10 to OHT-13.
#[test]
fn cells_have_their_sizes_and_give_back_their_data() {
    let head =
        Head { status: 200, fields: vec![("content-type".into(), b"text/event-stream".into())] }.write();
    for (shape, waiting, size) in [
        (Shape::Default, 0, 2048),
        (Shape::Default, 2000, 2048),
        (Shape::Default, 2045, 4096),
        (Shape::Default, 9000, 16_384),
        (Shape::Default, 90_000, 16_384),
        (Shape::Constant, 0, 2048),
        (Shape::Constant, 90_000, 2048),
    ] {
        assert_eq!(shape.size(0, waiting), size, "{shape:?} {waiting}");
    }
    let data: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
    let mut plaintext = cells::write(&head, &data, false, 2048).to_vec();
    let taken = cells::room(head.len(), 2048);
    assert_eq!(plaintext.len(), 2048);
    plaintext.extend_from_slice(&cells::write(&[], &data[taken..], true, 4096));
    plaintext.extend_from_slice(&cells::write(&[], &[], false, 2048));
    assert_eq!(plaintext.len(), 8192);
    for step in [1, 1000, 10_000] {
        let (mut reader, mut cells) = (AnswerReader::default(), CellReader::default());
        let (mut out, mut ended) = (Zeroizing::new(Vec::new()), false);
        for piece in plaintext.chunks(step) {
            ended = cells.push(&reader.push(piece).unwrap().content, &mut out).unwrap();
        }
        assert_eq!((out.as_slice(), ended), (&data[..], true));
        cells.finish().unwrap();
    }
    assert_eq!([1, 16, 17].map(|n| Shape::Default.rounded(n)), [16, 16, 32]);
    assert_eq!([1, 17, 33].map(|n| Shape::Constant.rounded(n)), [16, 32, 64]);
    assert_eq!(Shape::of("constant"), Some(Shape::Constant));
    assert_eq!(Shape::of("none"), None);

    let refused = |cell: &[u8]| CellReader::default().push(cell, &mut Zeroizing::default());
    assert_eq!(refused(&[0, 1, 0, 2, 0, 1]), Err(SealedError::Padding));
    assert_eq!(refused(&[0, 1, 0, 0, 0, 1]), Err(SealedError::Padding));
    assert_eq!(refused(&[0, 0, 0, 0, 2]), Err(SealedError::Padding));
    // Data after the last of it.
    assert_eq!(refused(&[0, 0, 0, 0, 1, 0, 1, 0, 1, 0, b'x']), Err(SealedError::Padding));
    let mut cut = CellReader::default();
    assert_eq!(cut.push(&[0, 0, 0, 0, 0], &mut Zeroizing::default()), Ok(false));
    assert_eq!(cut.finish(), Err(SealedError::Padding));
}

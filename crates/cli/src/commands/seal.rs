//! `casemate seal`: encrypts a model, signs its manifest, writes the model key for the broker.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use casemate_seal::{
    KeyFile, Manifest, ManifestBuilder, ModelId, ModelKey, PublisherSecret, Recipient, Sealer,
};
use serde::Serialize;

use super::{now, random};
use crate::args::SealArgs;
use crate::error::CliError;
use crate::files::{self, PRIVATE, PUBLIC};
use crate::output;

#[derive(Serialize)]
struct Sealed<'a> {
    schema: &'static str,
    manifest: String,
    model: &'a str,
    uuid: String,
    version: u64,
    files: usize,
    bytes: u64,
}

pub(crate) fn run(args: &SealArgs) -> Result<(), CliError> {
    // 1. Everything that can be wrong with the arguments, before anything is written.
    let publisher = PublisherSecret::from_pem(&files::read_text(&args.publisher_key)?)?;
    let sources = sources(&args.model)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let uuid = match &args.uuid {
        Some(text) => ModelId::parse_uuid(text)?,
        None => random_uuid()?,
    };
    let id = ModelId { uuid, version: args.model_version };
    let key = ModelKey::from_bytes(random()?);
    let recipient = Recipient::kbs(&args.key_uri)?;
    let builder = ManifestBuilder::new(id, name.clone(), now()?.0, &key).recipient(recipient);

    // 2. The key file first: if it cannot be written, that shows before hours of sealing.
    let key_file = KeyFile { id, key };
    files::create(&args.key_out, key_file.to_json().as_bytes(), PRIVATE)?;

    // 3. Seal into a directory of another name; rename it when it is complete. An error leaves nothing behind.
    let sealed = partial_name(&args.out).and_then(|partial| {
        files::create_dir(&partial)?;
        let done =
            write_model(&partial, &sources, &key_file.key, &id, builder, &publisher).and_then(|done| {
                fs::rename(&partial, &args.out)
                    .map_err(|source| CliError::Write { path: args.out.clone(), source })?;
                Ok(done)
            });
        done.inspect_err(|_| drop(fs::remove_dir_all(&partial)))
    });
    let (digest, bytes) = sealed.inspect_err(|_| drop(fs::remove_file(&args.key_out)))?;

    // 4. Say what was made.
    if args.json {
        return output::json(&Sealed {
            schema: "casemate.seal/1",
            manifest: hex::encode(digest),
            model: &name,
            uuid: id.uuid_text(),
            version: id.version,
            files: sources.len(),
            bytes,
        });
    }
    output::talk(&format!(
        "sealed {} ({bytes} bytes, {} files) into {}",
        name,
        sources.len(),
        args.out.display()
    ));
    output::talk(&format!("key for the broker: {}", args.key_out.display()));
    output::data(&hex::encode(digest));
    Ok(())
}

/// A file to seal and the name that it gets in the manifest.
struct Source {
    path: PathBuf,
    name: String,
}

fn write_model(
    out: &Path,
    sources: &[Source],
    key: &ModelKey,
    id: &ModelId,
    mut builder: ManifestBuilder,
    publisher: &PublisherSecret,
) -> Result<([u8; 32], u64), CliError> {
    files::create_dir(&out.join("blobs"))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut total = 0;
    for source in sources {
        let read = |e| CliError::Read { path: source.path.clone(), source: e };
        let mut plain = File::open(&source.path).map_err(read)?;
        let bar = output::progress("sealing", plain.metadata().map_err(read)?.len());
        let sealer = Sealer::new(key, id, &source.name, &random()?)?;
        let path = out.join(sealer.blob_name());
        let write = |e| CliError::Write { path: path.clone(), source: e };
        let mut blob = BufWriter::new(File::create_new(&path).map_err(write)?);
        let entry = sealer.seal(&mut plain, &mut blob, threads, &|bytes| bar.inc(bytes))?;
        blob.flush().map_err(write)?;
        blob.get_ref().sync_all().map_err(write)?;
        bar.finish_and_clear();
        total += entry.size;
        builder = builder.file(entry);
    }
    let envelope = builder.sign(publisher)?;
    let digest = Manifest::verify(&envelope, &[publisher.public()?])?.digest();
    files::create(&out.join("sealed.json"), &envelope, PUBLIC)?;
    Ok((digest, total))
}

/// The file itself, or every file below the directory in name order.
fn sources(model: &Path) -> Result<Vec<Source>, CliError> {
    let read = |source| CliError::Read { path: model.to_owned(), source };
    if fs::metadata(model).map_err(read)?.is_file() {
        let name = model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(vec![Source { path: model.to_owned(), name }]);
    }
    let mut found = Vec::new();
    collect(model, "", &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() { Err(CliError::NothingToSeal { path: model.to_owned() }) } else { Ok(found) }
}

fn collect(dir: &Path, prefix: &str, found: &mut Vec<Source>) -> Result<(), CliError> {
    let read = |source| CliError::Read { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let kind = entry.file_type().map_err(read)?;
        let name = entry.file_name().into_string().map_err(|_| CliError::NotText { path: entry.path() })?;
        let name = format!("{prefix}{name}");
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found)?;
        } else if kind.is_file() {
            found.push(Source { path: entry.path(), name });
        } else {
            // A link could name anything; sealing must not follow it.
            return Err(CliError::NotAFile { path: entry.path() });
        }
    }
    Ok(())
}

/// `OUT.partial` beside `OUT`, if `OUT` does not exist yet.
fn partial_name(out: &Path) -> Result<PathBuf, CliError> {
    if out.exists() {
        let source = std::io::ErrorKind::AlreadyExists.into();
        return Err(CliError::Write { path: out.to_owned(), source });
    }
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    Ok(out.with_file_name(name))
}

/// A random UUID (RFC 9562 section 5.4).
fn random_uuid() -> Result<[u8; 16], CliError> {
    let mut uuid: [u8; 16] = random()?;
    uuid[6] = (uuid[6] & 0x0f) | 0x40;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    Ok(uuid)
}

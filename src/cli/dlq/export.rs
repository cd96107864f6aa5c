//! Where exported dead letters go.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::arguments::ExportArguments;
use super::line;
use crate::dlq::record::{DeadLetter, Encoder};
use crate::dlq::records::Found;

/// Letters given to the Parquet writer at a time.
const PARQUET_BATCH: usize = 256;

/// Takes letters one by one. A file has its name only once it is whole.
pub(super) enum Destination<'o, O> {
    Lines { out: &'o mut O },
    LinesFile { file: Draft, out: BufWriter<File>, letters: u64 },
    Parquet { file: Draft, encoder: Box<Encoder<BufWriter<File>>>, held: Vec<DeadLetter>, letters: u64 },
    Bodies { directory: PathBuf, letters: u64 },
}

impl<'o, O: Write> Destination<'o, O> {
    /// What `arguments` ask for; `out` when they name no place.
    pub fn open(arguments: &ExportArguments, out: &'o mut O) -> anyhow::Result<Self> {
        if let Some(directory) = &arguments.bodies {
            fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
            return Ok(Self::Bodies { directory: directory.clone(), letters: 0 });
        }
        let Some(output) = &arguments.output else { return Ok(Self::Lines { out }) };
        let (file, out) = Draft::begin(output)?;
        let out = BufWriter::new(out);
        if arguments.json || output.extension().is_none_or(|extension| extension != "parquet") {
            return Ok(Self::LinesFile { file, out, letters: 0 });
        }
        let encoder = Box::new(Encoder::unsorted(out).with_context(|| file.cannot_write())?);
        Ok(Self::Parquet { file, encoder, held: Vec::with_capacity(PARQUET_BATCH), letters: 0 })
    }

    pub fn write(&mut self, found: Found) -> anyhow::Result<()> {
        match self {
            Self::Lines { out } => Ok(line::write(*out, &found)?),
            Self::LinesFile { file, out, letters } => {
                *letters += 1;
                line::write(out, &found).with_context(|| file.cannot_write())
            }
            Self::Parquet { file, encoder, held, letters } => {
                *letters += 1;
                held.push(found.letter);
                if held.len() < PARQUET_BATCH {
                    return Ok(());
                }
                encode(encoder, held).with_context(|| file.cannot_write())
            }
            Self::Bodies { directory, letters } => {
                *letters += 1;
                let letter = &found.letter;
                let path = directory.join(format!("{}.body", letter.id));
                fs::write(&path, &letter.message.body).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }

    /// Makes files whole; says what was done where it does not show.
    pub fn finish(self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Lines { .. } => Ok(None),
            Self::LinesFile { file, out, letters } => {
                let written = out.into_inner().map_err(|error| error.into_error());
                file.finish(&written.with_context(|| file.cannot_write())?)?;
                Ok(Some(format!("{letters} dead letters written to {}", file.path.display())))
            }
            Self::Parquet { file, mut encoder, mut held, letters } => {
                encode(&mut encoder, &mut held).with_context(|| file.cannot_write())?;
                let out = encoder.finish().with_context(|| file.cannot_write())?;
                let written = out.into_inner().map_err(|error| error.into_error());
                file.finish(&written.with_context(|| file.cannot_write())?)?;
                Ok(Some(format!("{letters} dead letters written to {}", file.path.display())))
            }
            Self::Bodies { directory, letters } => {
                Ok(Some(format!("{letters} bodies written to {}", directory.display())))
            }
        }
    }
}

fn encode(
    encoder: &mut Encoder<BufWriter<File>>,
    held: &mut Vec<DeadLetter>,
) -> Result<(), crate::dlq::record::EncodeError> {
    encoder.write(&held.iter().collect::<Vec<_>>())?;
    held.clear();
    Ok(())
}

/// A file that gets its name when it is whole.
pub(super) struct Draft {
    path: PathBuf,
    draft: PathBuf,
}

impl Draft {
    fn begin(path: &Path) -> anyhow::Result<(Self, File)> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let this = Self { path: path.to_owned(), draft: draft.into() };
        let file = File::create(&this.draft).with_context(|| this.cannot_write())?;
        Ok((this, file))
    }

    fn cannot_write(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    fn finish(&self, file: &File) -> anyhow::Result<()> {
        file.sync_all().with_context(|| self.cannot_write())?;
        fs::rename(&self.draft, &self.path).with_context(|| self.cannot_write())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // There is none after `finish`; after a failure nobody wants it.
        let _ = fs::remove_file(&self.draft);
    }
}

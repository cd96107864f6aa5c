//! Where exported dead letters go.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::arguments::ExportArguments;
use crate::app::FileDraft;
use crate::dlq::line;
use crate::dlq::record::{DeadLetter, Encoder};
use crate::dlq::records::Found;

/// Letters given to the Parquet writer at a time.
const PARQUET_BATCH: usize = 256;

/// Takes letters one by one. A file has its name only once it is whole.
pub(super) enum Destination<'o, O> {
    Lines { out: &'o mut O },
    LinesFile { path: PathBuf, out: FileDraft, letters: u64 },
    Parquet { path: PathBuf, encoder: Box<Encoder<FileDraft>>, held: Vec<DeadLetter>, letters: u64 },
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
        let path = output.clone();
        let out = FileDraft::replacing(&path).with_context(|| cannot_write(&path))?;
        if arguments.json || output.extension().is_none_or(|extension| extension != "parquet") {
            return Ok(Self::LinesFile { path, out, letters: 0 });
        }
        let encoder = Box::new(Encoder::unsorted(out).with_context(|| cannot_write(&path))?);
        Ok(Self::Parquet { path, encoder, held: Vec::with_capacity(PARQUET_BATCH), letters: 0 })
    }

    pub fn write(&mut self, found: Found) -> anyhow::Result<()> {
        match self {
            Self::Lines { out } => Ok(line::write(*out, &found)?),
            Self::LinesFile { path, out, letters } => {
                *letters += 1;
                line::write(out, &found).with_context(|| cannot_write(path))
            }
            Self::Parquet { path, encoder, held, letters } => {
                *letters += 1;
                held.push(*found.letter);
                if held.len() < PARQUET_BATCH {
                    return Ok(());
                }
                encode(encoder, held).with_context(|| cannot_write(path))
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
            Self::LinesFile { path, out, letters } => {
                out.end().with_context(|| cannot_write(&path))?;
                Ok(Some(format!("{letters} dead letters written to {}", path.display())))
            }
            Self::Parquet { path, mut encoder, mut held, letters } => {
                encode(&mut encoder, &mut held).with_context(|| cannot_write(&path))?;
                let out = encoder.finish().with_context(|| cannot_write(&path))?;
                out.end().with_context(|| cannot_write(&path))?;
                Ok(Some(format!("{letters} dead letters written to {}", path.display())))
            }
            Self::Bodies { directory, letters } => {
                Ok(Some(format!("{letters} bodies written to {}", directory.display())))
            }
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn encode(encoder: &mut Encoder<FileDraft>, held: &mut Vec<DeadLetter>) -> Result<(), crate::dlq::record::EncodeError> {
    encoder.write(&held.iter().collect::<Vec<_>>())?;
    held.clear();
    Ok(())
}

//! Files of lines, plain, gzip or zstd, told apart by their first bytes; and files in the making.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::replay::Draft;

const BUFFER_BYTES: usize = 1 << 20;

/// An opened file or standard input.
pub struct FileInput {
    pub name: String,
    /// BLAKE3 of the bytes on disk, in hex; `None` for standard input.
    pub digest: Option<String>,
    /// Bytes on disk; `None` for standard input.
    pub bytes: Option<u64>,
    /// Bytes on disk read so far.
    pub bytes_read: Arc<AtomicU64>,
    /// Its lines, decompressed.
    pub reader: Box<dyn BufRead + Send>,
}

/// Opens `path`, or standard input for `-`. With `hash` the whole file is read once before.
///
/// # Errors
/// As the file system says.
pub fn open_lines(path: &Path, hash: bool) -> io::Result<FileInput> {
    if path == Path::new("-") {
        let (counted, bytes_read) = Counted::new(io::stdin());
        let reader = decompressing(BufReader::with_capacity(BUFFER_BYTES, counted))?;
        return Ok(FileInput { name: "-".to_owned(), digest: None, bytes: None, bytes_read, reader });
    }
    let digest = if hash { Some(hash_file(path)?) } else { None };
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let (counted, bytes_read) = Counted::new(file);
    let reader = decompressing(BufReader::with_capacity(BUFFER_BYTES, counted))?;
    Ok(FileInput { name: path.to_string_lossy().into_owned(), digest, bytes: Some(bytes), bytes_read, reader })
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let bytes = Arc::default();
        (Self { inner, bytes: Arc::clone(&bytes) }, bytes)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

fn decompressing<R: Read + Send + 'static>(mut reader: BufReader<R>) -> io::Result<Box<dyn BufRead + Send>> {
    const GZIP: &[u8] = &[0x1f, 0x8b]; // RFC 1952, 2.3.1
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd]; // RFC 8878, 3.1.1
    let start = reader.fill_buf()?;
    Ok(if start.starts_with(GZIP) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(reader)))
    } else if start.starts_with(ZSTD) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(reader)?))
    } else {
        Box::new(reader)
    })
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    // Of hashes that no two files share, made on purpose or not, the one that costs a fraction of reading the file.
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().to_hex().to_string())
}

/// A file that gets its name when it is finished. Until then it lies beside it, with `.part` at its end.
pub struct FileDraft {
    path: PathBuf,
    draft: PathBuf,
    replaces: bool,
    out: BufWriter<File>,
}

impl FileDraft {
    /// Begins the file `path`, of which there must be none.
    ///
    /// # Errors
    /// As the file system says.
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Self::begin(path, false)
    }

    /// Begins the file `path`, which takes the place of any that is there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn replacing(path: &Path) -> io::Result<Self> {
        Self::begin(path, true)
    }

    fn begin(path: &Path, replaces: bool) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        let out = BufWriter::new(File::create(&draft)?);
        Ok(Self { path: path.to_owned(), draft, replaces, out })
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// As the file system says.
    pub fn end(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        // A link replaces nothing; what is left beside it goes with this.
        if self.replaces { fs::rename(&self.draft, &self.path) } else { fs::hard_link(&self.draft, &self.path) }
    }
}

impl Write for FileDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Draft for FileDraft {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.end()
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        // There is none after a rename; after a failure nobody wants it.
        let _ = fs::remove_file(&self.draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn plain_gzip_and_zstd_files_give_the_same_lines_and_differ_in_hash() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let text = b"{\"a\":1}\n{\"a\":2}\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).expect("in memory");
        let files = [
            ("plain", text.to_vec()),
            ("gzip", gzip.finish().expect("in memory")),
            ("zstd", zstd::encode_all(&text[..], 1).expect("in memory")),
        ];
        let mut hashes = Vec::new();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let mut input = open_lines(&path, true).expect("opened");
            let mut lines = Vec::new();
            input.reader.read_to_end(&mut lines).expect("read");
            assert_eq!(lines, text, "{name}");
            hashes.push(input.digest);
        }
        hashes.dedup();
        assert_eq!(hashes.len(), 3);
    }
}

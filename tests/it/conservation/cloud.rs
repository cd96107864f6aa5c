//! An object store in memory that answers late, wrongly, or not at all.
//!
//! The server and its clients live apart: what a client sent takes effect even when the client died meanwhile.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parqueduct::store::Store;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, Tally};

/// A client waits as long for an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A request that its client gave up still takes effect within this time. Less than the grace of flushes.
pub const LATEST: Duration = Duration::from_secs(120);

/// The server.
#[derive(Debug)]
pub struct Cloud {
    objects: Arc<InMemory>,
    weather: Mutex<Weather>,
}

#[derive(Debug)]
struct Weather {
    rng: fastrand::Rng,
    trouble: Option<Trouble>,
    met: Tally,
}

/// Until an instant, one request in so many has one of these accidents.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub until: Instant,
    pub one_in: u32,
    pub faults: Vec<Fault>,
}

impl Cloud {
    pub fn new(seed: u64) -> Arc<Self> {
        let rng = fastrand::Rng::with_seed(seed);
        let weather = Weather { rng, trouble: None, met: Tally::default() };
        Arc::new(Self { objects: Arc::default(), weather: Mutex::new(weather) })
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.weather().trouble = Some(trouble);
    }

    /// Waits for the end of what was announced last.
    pub async fn trouble_over(&self) {
        let until = self.weather().trouble.as_ref().map(|trouble| trouble.until);
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    /// The accidents that happened.
    pub fn met(&self) -> Tally {
        self.weather().met.clone()
    }

    /// The store without trouble, for who looks at it from outside.
    pub fn outside_view(&self) -> Store {
        Store::over(Arc::clone(&self.objects) as Arc<dyn ObjectStore>)
    }

    /// The store as a process uses it: it hears no answer once `dead` is cancelled.
    pub fn client(self: &Arc<Self>, dead: CancellationToken) -> Store {
        Store::over(Arc::new(FlakyStore { cloud: Arc::clone(self), dead }))
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("no test panics with it")
    }
}

impl Weather {
    fn accident(&mut self) -> Option<Fault> {
        let trouble = self.trouble.as_ref().filter(|trouble| Instant::now() < trouble.until)?;
        if self.rng.u32(0..trouble.one_in) > 0 {
            return None;
        }
        let fault = self.rng.choice(&trouble.faults).copied()?;
        self.met.add(fault);
        Some(fault)
    }

    /// Between `from` and `to`, in milliseconds.
    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_millis(self.rng.u64(from.as_millis() as u64..=to.as_millis() as u64))
    }
}

/// One process' way to the server.
#[derive(Debug)]
struct FlakyStore {
    cloud: Arc<Cloud>,
    dead: CancellationToken,
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

impl FlakyStore {
    /// Sends a request: `effect` on the server, unless an accident happens.
    async fn send<T: Send + 'static>(&self, effect: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let (answer, heard) = oneshot::channel();
        tokio::spawn(serve(Arc::clone(&self.cloud), effect, answer));
        tokio::select! {
            biased;
            () = self.dead.cancelled() => std::future::pending().await,
            heard = timeout(REQUEST_TIMEOUT, heard) => match heard {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(failure(io::ErrorKind::ConnectionReset)),
                Err(_) => Err(failure(io::ErrorKind::TimedOut)),
            },
        }
    }
}

async fn serve<T>(cloud: Arc<Cloud>, effect: impl Future<Output = Result<T>>, answer: oneshot::Sender<Result<T>>) {
    let (accident, there, back) = {
        let mut weather = cloud.weather();
        let accident = weather.accident();
        let usual = weather.between(Duration::ZERO, Duration::from_millis(30));
        let there = match accident {
            Some(Fault::StoreSlow) => weather.between(usual, REQUEST_TIMEOUT / 2),
            Some(Fault::StoreLate) => weather.between(REQUEST_TIMEOUT, LATEST),
            _ => usual,
        };
        (accident, there, weather.between(Duration::ZERO, Duration::from_millis(10)))
    };
    sleep(there).await;
    let done = match accident {
        Some(Fault::StoreRefuses) => Err(failure(io::ErrorKind::Other)),
        Some(Fault::StoreDenies) => Err(Error::PermissionDenied { path: String::new(), source: "denied".into() }),
        Some(Fault::StoreSilent) => return sleep(2 * REQUEST_TIMEOUT).await,
        _ => effect.await,
    };
    sleep(back).await;
    if accident != Some(Fault::StoreAnswerLost) {
        answer.send(done).ok();
    }
}

fn failure(kind: io::ErrorKind) -> Error {
    Error::Generic { store: "flaky", source: Box::new(io::Error::from(kind)) }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (objects, path) = (Arc::clone(&self.cloud.objects), path.clone());
        self.send(async move { objects.put_opts(&path, payload, options).await }).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("objects are created whole")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (objects, path) = (Arc::clone(&self.cloud.objects), path.clone());
        self.send(async move { objects.get_opts(&path, options).await }).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = FlakyStore { cloud: Arc::clone(&self.cloud), dead: self.dead.clone() };
        paths
            .and_then(move |path| {
                let client = FlakyStore { cloud: Arc::clone(&client.cloud), dead: client.dead.clone() };
                async move {
                    let objects = Arc::clone(&client.cloud.objects);
                    client.send(async move { one_deletion(&objects, path).await }).await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let client = FlakyStore { cloud: Arc::clone(&self.cloud), dead: self.dead.clone() };
        let prefix = prefix.cloned();
        let listed = async move {
            let objects = Arc::clone(&client.cloud.objects);
            let page = async move { objects.list(prefix.as_ref()).try_collect::<Vec<_>>().await };
            Ok::<_, Error>(stream::iter(client.send(page).await?).map(Ok))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (objects, prefix) = (Arc::clone(&self.cloud.objects), prefix.cloned());
        self.send(async move { objects.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

async fn one_deletion(objects: &InMemory, path: Path) -> Result<Path> {
    let mut deleted = objects.delete_stream(stream::once(async { Ok(path) }).boxed());
    deleted.next().await.expect("an answer for each path")
}

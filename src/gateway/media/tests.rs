//! What a file's reader can hold up, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;

/// A host with a file of so many chunks, which counts those that were taken.
#[derive(Debug)]
struct Host {
    chunks: usize,
    /// It never says that these were all.
    silent: bool,
    taken: Arc<AtomicUsize>,
}

#[async_trait]
impl MediaApi for Host {
    async fn open(&self, _: &str, _: bool, _: Instant) -> Result<Opened, MediaError> {
        let taken = Arc::clone(&self.taken);
        let body = stream::iter(0..self.chunks).map(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(b"chunk"))
        });
        let body = if self.silent { body.chain(stream::pending()).boxed() } else { body.boxed() };
        Ok(Opened { mime_type: String::new(), size_bytes: None, body })
    }
}

struct World {
    media: Media,
    taken: Arc<AtomicUsize>,
    shutdown: Shutdown,
}

impl World {
    fn new(chunks: usize) -> Self {
        Self::of(Host { chunks, silent: false, taken: Arc::default() })
    }

    fn of(host: Host) -> Self {
        let taken = Arc::clone(&host.taken);
        let api: Arc<dyn MediaApi> = Arc::new(host);
        let limits = Limits { time_max: Duration::from_mins(1), fetches_max: 1 };
        let shutdown = Shutdown::new();
        let media = Media::new(BTreeMap::from([("suporte".to_owned(), api)]), limits, shutdown.clone());
        Self { media, taken, shutdown }
    }

    async fn fetch(&self, within: Option<Duration>) -> Result<Fetched, FetchError> {
        self.media.fetch("suporte", "https://host/file", false, within.map(|it| Instant::now() + it)).await
    }
}

/// Everything that still comes, and how it ends.
async fn rest(fetched: &mut Fetched) -> (usize, Option<FetchError>) {
    let mut chunks = 0;
    while let Some(next) = fetched.body.next().await {
        match next {
            Ok(_) => chunks += 1,
            Err(fault) => return (chunks, Some(fault)),
        }
    }
    (chunks, None)
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_gives_its_turn_back_in_time() {
    let world = World::new(usize::MAX);
    for (within, held) in [(None, 60), (Some(5), 5), (Some(500), 60)] {
        let before = world.taken.load(Ordering::Relaxed);
        let mut stalled = world.fetch(within.map(Duration::from_secs)).await.unwrap();
        assert!(stalled.body.next().await.is_some());
        tokio::time::sleep(Duration::from_secs(held - 1)).await;
        assert_eq!(world.fetch(None).await.unwrap_err(), FetchError::Busy { fetches_max: 1 });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.taken.load(Ordering::Relaxed) - before, 3, "one taken, one waits, one is offered");
        drop(world.fetch(None).await.unwrap());
        tokio::task::yield_now().await;
        let (chunks, fault) = rest(&mut stalled).await;
        assert_eq!(chunks, 1);
        match (held, fault) {
            (60, Some(FetchError::TooSlow { time_max })) => assert_eq!(time_max, Duration::from_mins(1)),
            (5, Some(FetchError::Media(MediaError::Unavailable(_)))) => {}
            (_, fault) => panic!("{fault:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_comes_whole_at_its_readers_pace() {
    let world = World::new(9);
    let mut file = world.fetch(None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(rest(&mut file).await, (9, None));
    tokio::task::yield_now().await;
    assert!(world.fetch(None).await.is_ok(), "its turn is over");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_hangs_up_gives_its_turn_back_at_once() {
    let world = World::of(Host { chunks: 1, silent: true, taken: Arc::default() });
    let mut file = world.fetch(None).await.unwrap();
    assert!(file.body.next().await.is_some());
    let start = Instant::now();
    drop(file);
    while world.fetch(None).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "though its host is silent");
}

#[tokio::test(start_paused = true)]
async fn no_reader_holds_up_a_stop() {
    let world = World::new(usize::MAX);
    let mut stalled = world.fetch(None).await.unwrap();
    world.shutdown.soft().cancel();
    let start = Instant::now();
    world.shutdown.drained().await;
    assert_eq!(start.elapsed().as_secs(), DRAIN.as_secs());
    assert!(matches!(rest(&mut stalled).await, (1, Some(FetchError::Draining))));
    assert_eq!(world.fetch(None).await.unwrap_err(), FetchError::Draining);
}

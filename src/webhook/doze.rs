//! A future that is hardly ever ready, beside one that is polled all day: it is polled only when it was woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls what is inside once, and then not before it has asked for it. What it answers, it answers once.
pub(super) struct Doze<F> {
    inner: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Rung by what is inside, heard by whoever polled last.
struct Bell {
    rung: AtomicBool,
    hearer: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.hearer.wake();
    }
}

impl<F: Future> Doze<F> {
    pub(super) fn new(inner: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), hearer: AtomicWaker::new() });
        Self { inner: Box::pin(inner), waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future> Future for Doze<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // First who hears, then whether it was rung: a ring between the two is heard.
        self.bell.hearer.register(context.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let Self { inner, waker, .. } = &mut *self;
        inner.as_mut().poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn it_sleeps_until_it_is_woken() {
        let (token, polls) = (CancellationToken::new(), AtomicUsize::new(0));
        let mut inner = Box::pin(token.cancelled());
        let mut doze = Doze::new(poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            inner.as_mut().poll(context)
        }));
        for _ in 0..10 {
            let pending =
                poll_fn(|context| Poll::Ready(Pin::new(&mut doze).poll(context).is_pending())).await;
            assert!(pending);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        token.cancel();
        doze.await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let token = CancellationToken::new();
        let cancel = async {
            tokio::task::yield_now().await;
            token.cancel();
        };
        tokio::join!(Doze::new(token.cancelled()), cancel);
    }
}

//! A crash, as far as it can be had within a process: a future that is dropped at an await point.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Dropped after so many awaits that had to wait: what is left of a process that was killed there.
struct CrashAfter<F> {
    future: Pin<Box<F>>,
    left: u32,
}

impl<F: Future> Future for CrashAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left <= 1 => Poll::Ready(None),
            Poll::Pending => {
                self.left -= 1;
                Poll::Pending
            }
        }
    }
}

/// Lets a future go on until it has had to wait so often. Nothing, where it was cut off.
pub(super) async fn crash_after<F: Future>(future: F, awaits: u32) -> Option<F::Output> {
    CrashAfter { future: Box::pin(future), left: awaits }.await
}

#[tokio::test]
async fn a_crash_is_a_future_that_is_not_polled_again() {
    let waits = async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    };
    assert_eq!(crash_after(waits, 2).await, None);
    assert_eq!(crash_after(async { tokio::task::yield_now().await }, 2).await, Some(()));
}

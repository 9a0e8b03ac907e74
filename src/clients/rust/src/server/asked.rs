//! A question that goes on when its caller waits for the answer no more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

/// A question. If it is dropped before its answer came, it goes on in the background.
pub(super) struct Asked<T: Send + 'static> {
    question: Option<PendingAnswer<T>>,
    runtime: Handle,
}

type PendingAnswer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> Asked<T> {
    pub(super) fn new(question: impl Future<Output = T> + Send + 'static) -> Self {
        Self { question: Some(Box::pin(question)), runtime: Handle::current() }
    }
}

impl<T: Send + 'static> Future for Asked<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(question) = &mut self.question else { return Poll::Pending };
        let answer = ready!(question.as_mut().poll(context));
        self.question = None;
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for Asked<T> {
    fn drop(&mut self) {
        if let Some(question) = self.question.take() {
            self.runtime.spawn(question);
        }
    }
}

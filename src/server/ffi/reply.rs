//! Replies, written straight to the client.
//!
//! A [`Reply`] is a value that can be written. [`map`] and [`array()`] write values of several
//! kinds; [`Pairs`], [`List`] and [`Each`] hold any number of values of one kind. Each of them
//! counts its own items, so no caller gives a length.

use crate::core::retry_after::RetryAfter;
use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there};
use std::borrow::Cow;
use std::ffi::CString;

/// One value of a reply. It may contain other values.
pub trait Reply {
    /// Writes the value to the client.
    fn send(&self, ctx: &Context<'_>);
}

/// Writes a map of these fields. RESP2 clients get a flat array.
pub fn map<N: Reply>(ctx: &Context<'_>, fields: &[(N, &dyn Reply)]) {
    send_pairs(ctx, fields);
}

/// Writes an array of these items.
pub fn array(ctx: &Context<'_>, items: &[&dyn Reply]) {
    List(items).send(ctx);
}

/// Writes an array of these integers.
pub fn integers(ctx: &Context<'_>, numbers: &[i64]) {
    begin_array(ctx, numbers.len());
    for &number in numbers {
        integer(ctx, number);
    }
}

/// A map of these fields, as a value inside another reply.
pub struct Fields<'r>(pub &'r [(&'r str, &'r dyn Reply)]);

impl Reply for Fields<'_> {
    fn send(&self, ctx: &Context<'_>) {
        send_pairs(ctx, self.0);
    }
}

/// A map of any number of names, with values of one kind.
#[derive(Clone, Debug)]
pub struct Pairs<N, V>(pub Vec<(N, V)>);

impl<N, V> FromIterator<(N, V)> for Pairs<N, V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<N: Reply, V: Reply> Reply for Pairs<N, V> {
    fn send(&self, ctx: &Context<'_>) {
        send_pairs(ctx, &self.0);
    }
}

fn send_pairs<N: Reply, V: Reply>(ctx: &Context<'_>, pairs: &[(N, V)]) {
    begin_map(ctx, pairs.len());
    for (name, value) in pairs {
        name.send(ctx);
        value.send(ctx);
    }
}

/// An array of these values.
#[derive(Clone, Copy, Debug)]
pub struct List<'r, V>(pub &'r [V]);

impl<V: Reply> Reply for List<'_, V> {
    fn send(&self, ctx: &Context<'_>) {
        Each(self.0, |ctx: &Context<'_>, value: &V| value.send(ctx)).send(ctx);
    }
}

/// An array with one item for each item of an iterator. The function writes the item, as exactly
/// one value.
#[derive(Clone, Copy, Debug)]
pub struct Each<I, F>(pub I, pub F);

impl<I, F> Reply for Each<I, F>
where
    I: IntoIterator<IntoIter: ExactSizeIterator> + Clone,
    F: Fn(&Context<'_>, I::Item),
{
    fn send(&self, ctx: &Context<'_>) {
        let items = self.0.clone().into_iter();
        begin_array(ctx, items.len());
        items.for_each(|item| self.1(ctx, item));
    }
}

impl<R: Reply + ?Sized> Reply for &R {
    fn send(&self, ctx: &Context<'_>) {
        (**self).send(ctx);
    }
}

impl<R: Reply + ?Sized> Reply for Box<R> {
    fn send(&self, ctx: &Context<'_>) {
        (**self).send(ctx);
    }
}

/// Writes null for `None`.
impl<R: Reply> Reply for Option<R> {
    fn send(&self, ctx: &Context<'_>) {
        match self {
            Some(value) => value.send(ctx),
            None => null(ctx),
        }
    }
}

impl Reply for i64 {
    fn send(&self, ctx: &Context<'_>) {
        integer(ctx, *self);
    }
}

/// A number above `i64::MAX` is sent as `i64::MAX`, the largest of the protocol.
impl Reply for u64 {
    fn send(&self, ctx: &Context<'_>) {
        integer(ctx, signed(*self));
    }
}

/// Sends a boolean. RESP2 clients, and all clients of servers before 7.0, get 1 or 0.
impl Reply for bool {
    fn send(&self, ctx: &Context<'_>) {
        // SAFETY: the context is live.
        unsafe {
            if call_if_there!(RedisModule_ReplyWithBool(ctx.raw(), (*self).into())).is_none() {
                call!(RedisModule_ReplyWithLongLong(ctx.raw(), (*self).into()));
            }
        }
    }
}

macro_rules! bulk_strings {
    ($($kind:ty),+) => {
        $(impl Reply for $kind {
            fn send(&self, ctx: &Context<'_>) {
                bytes(ctx, self.as_ref());
            }
        })+
    };
}

bulk_strings!(str, String, [u8], Vec<u8>, Cow<'_, [u8]>);

/// Writes milliseconds: 0 for now, -1 for never.
impl Reply for RetryAfter {
    fn send(&self, ctx: &Context<'_>) {
        integer(ctx, self.millis());
    }
}

/// Sends an integer.
pub fn integer(ctx: &Context<'_>, n: i64) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithLongLong(ctx.raw(), n));
    }
}

/// The number as an integer of the protocol, at most `i64::MAX`.
pub fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Sends a bulk string of any bytes.
pub fn bytes(ctx: &Context<'_>, bytes: &[u8]) {
    // SAFETY: the context is live and the buffer is copied.
    unsafe {
        call!(RedisModule_ReplyWithStringBuffer(ctx.raw(), bytes.as_ptr().cast(), bytes.len()));
    }
}

/// Sends the simple string `OK`.
pub fn ok(ctx: &Context<'_>) {
    // SAFETY: the context is live and the text a C string.
    unsafe {
        call!(RedisModule_ReplyWithSimpleString(ctx.raw(), c"OK".as_ptr()));
    }
}

/// Sends null.
pub fn null(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithNull(ctx.raw()));
    }
}

/// Sends an error. `text` starts with its code (`ERR …`). Every character that is not printable
/// ASCII is replaced, so that the client gets one line.
pub fn error(ctx: &Context<'_>, text: &str) {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let clean = CString::new(clean).unwrap_or_default();
    // SAFETY: the context is live and the text a C string.
    unsafe {
        call!(RedisModule_ReplyWithError(ctx.raw(), clean.as_ptr()));
    }
}

/// Sends the server's own error for a wrong number of arguments.
pub fn wrong_arity(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_WrongArity(ctx.raw()));
    }
}

/// Starts a map of `fields` fields. The caller sends each name and value next.
fn begin_map(ctx: &Context<'_>, fields: usize) {
    // SAFETY: the context is live. Servers before 7.0 have no map and get a flat array.
    unsafe {
        if call_if_there!(RedisModule_ReplyWithMap(ctx.raw(), long(fields))).is_none() {
            call!(RedisModule_ReplyWithArray(ctx.raw(), long(fields.saturating_mul(2))));
        }
    }
}

/// Starts an array of `items` items. The caller sends them next.
fn begin_array(ctx: &Context<'_>, items: usize) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithArray(ctx.raw(), long(items)));
    }
}

fn long(n: usize) -> std::ffi::c_long {
    std::ffi::c_long::try_from(n).unwrap_or(std::ffi::c_long::MAX)
}

//! The cluster bus: which nodes there are, and messages between their copies of this module.
//!
//! A server that is not in cluster mode, or that lacks this part of the API, has no bus. Every
//! function here then does nothing.

use crate::core::policies::NodeId;
use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::call_if_there;
use redis_module::raw;
use std::ffi::{CString, c_char, c_uchar};
use std::sync::OnceLock;

/// The type of our messages, among the types that this module could send.
const KIND: u8 = 1;

/// A node that this one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// The name of the node.
    pub id: NodeId,
    /// True for the node on which this code runs.
    pub is_here: bool,
}

/// A function that receives a message: the sender and the bytes.
pub type Receiver = fn(&Context<'_>, NodeId, &[u8]);

static RECEIVER: OnceLock<Receiver> = OnceLock::new();

/// Calls `receiver` for every message from this module on another node. Returns whether there is a
/// bus.
///
/// A message may arrive in the middle of another command (when a script yields to the server) or
/// while data is being loaded.
pub fn on_message(ctx: &Context<'_>, receiver: Receiver) -> bool {
    let _ = RECEIVER.set(receiver);
    // SAFETY: the context is live, and `received` is a function of this library.
    let listening = || unsafe {
        call_if_there!(RedisModule_RegisterClusterMessageReceiver(ctx.raw(), KIND, Some(received)))
    };
    ctx.flags().cluster() && listening().is_some()
}

/// Sends a message to one node, or to all others if `to` is `None`. Nothing reports whether it
/// arrives.
pub fn send(ctx: &Context<'_>, to: Option<NodeId>, message: &[u8]) {
    let Ok(len) = u32::try_from(message.len()) else { return };
    let Ok(to) = to.map(|id| CString::new(id.to_string())).transpose() else { return };
    let target = to.as_ref().map_or(std::ptr::null(), |id| id.as_ptr());
    // SAFETY: the context is live; the name is a C string, or null for all nodes; the server copies
    // the bytes.
    unsafe {
        call_if_there!(RedisModule_SendClusterMessage(ctx.raw(), target, KIND, message.as_ptr().cast(), len));
    }
}

/// The name of this node in its cluster; `None` outside a cluster.
pub fn own_id(ctx: &Context<'_>) -> Option<NodeId> {
    if !ctx.flags().cluster() {
        return None;
    }
    // SAFETY: takes no arguments.
    let id = unsafe { call_if_there!(RedisModule_GetMyClusterID()) }?;
    // SAFETY: the server gives a name, or null.
    unsafe { read_id(id) }
}

/// All nodes that this one knows, itself included.
pub fn nodes(ctx: &Context<'_>) -> Vec<ClusterNode> {
    let Some(own) = own_id(ctx) else { return Vec::new() };
    let mut count = 0;
    // SAFETY: the context is live; the list has `count` names until it is freed.
    unsafe {
        let list = call_if_there!(RedisModule_GetClusterNodesList(ctx.raw(), &raw mut count));
        let Some(list) = list.filter(|list| !list.is_null()) else { return Vec::new() };
        let ids = std::slice::from_raw_parts(list, count).iter().filter_map(|id| read_id(*id));
        let nodes = ids.map(|id| ClusterNode { id, is_here: id == own }).collect();
        call_if_there!(RedisModule_FreeClusterNodesList(list));
        nodes
    }
}

/// # Safety
/// `id` is null, or points to the name of a node: [`NodeId::DIGITS`] bytes, which need not end with
/// a zero byte.
unsafe fn read_id(id: *const c_char) -> Option<NodeId> {
    if id.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    NodeId::parse(unsafe { std::slice::from_raw_parts(id.cast::<u8>(), NodeId::DIGITS) })
}

unsafe extern "C" fn received(
    ctx: *mut raw::RedisModuleCtx,
    sender: *const c_char,
    _: u8,
    payload: *const c_uchar,
    len: u32,
) {
    let Ok(len) = usize::try_from(len) else { return };
    // SAFETY: the server calls it on its main thread, with a live context and the name
    // of a node that it knows.
    let (context, sender) = unsafe { (Context::from_raw(ctx), read_id(sender)) };
    let (Some(sender), Some(receiver)) = (sender, RECEIVER.get()) else { return };
    // SAFETY: the server passes `len` bytes. If `len` is 0, the pointer may be invalid and is not
    // used.
    let message = if len == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(payload, len) } };
    boundary::enter(&context, || receiver(&context, sender, message));
}

//! The allocator: the server's own, so that its memory figures, `maxmemory`
//! and defragmentation see what the module holds.

use redis_module::raw;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;

/// Allocates with the server's allocator once the module is loaded into one,
/// with the system's in programs that only link the core (tests, tools).
///
/// The two never mix: the pointers are set before the first allocation of a
/// loaded module, and never in the other programs.
#[derive(Debug)]
pub struct ServerAlloc;

/// What both jemalloc and libc malloc guarantee for every size.
const NATURAL_ALIGN: usize = 16;

// SAFETY: memory comes from the server's malloc or from `System`, both valid
// allocators; sizes are rounded so that stricter alignments hold too.
unsafe impl GlobalAlloc for ServerAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the pointer, when set, is the server's malloc.
        match unsafe { raw::RedisModule_Alloc } {
            Some(_) if layout.align() > NATURAL_ALIGN => std::ptr::null_mut(),
            // SAFETY: as above.
            Some(alloc) => unsafe { alloc(layout.size()).cast() },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the pointer, when set, is the server's free.
        match unsafe { raw::RedisModule_Free } {
            // SAFETY: `ptr` came from `alloc` above, hence from the same allocator.
            Some(free) => unsafe { free(ptr.cast::<c_void>()) },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.dealloc(ptr, layout) },
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer, when set, is the server's realloc.
        match unsafe { raw::RedisModule_Realloc } {
            // SAFETY: `ptr` came from `alloc` above, hence from the same allocator.
            Some(realloc) => unsafe { realloc(ptr.cast::<c_void>(), new_size).cast() },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.realloc(ptr, layout, new_size) },
        }
    }
}

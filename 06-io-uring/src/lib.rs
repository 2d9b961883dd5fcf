//! What the chapter's server needs from io_uring(7). The examples and the exercises share its lower half.
//!
//! - [`flight`]: operations in flight, and who owns their memory meanwhile.
//! - [`op`]: the four operations of the server.
//! - [`pool`]: the buffers for what is received.
//! - [`queues`] and [`buffer_ring`]: what is shared with the kernel.

#![cfg(target_os = "linux")]

pub mod buffer_ring;
pub mod flight;
pub mod op;
pub mod pool;
pub mod queues;

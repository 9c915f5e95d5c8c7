//! The labelers' page as a process: sessions over HTTP, hostile requests, a full disk, `kill -9`; and in a browser.

mod browser;
mod devtools;
mod hostile;
mod kills;
mod memory;
mod outputs;
mod server;
mod sessions;
#[path = "../common/tiny.rs"]
mod tiny;

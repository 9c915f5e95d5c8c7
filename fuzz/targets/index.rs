//! The index of a sharded model: whatever it says, the files are in the directory.
#![no_main]

use std::path::Path;

use instructgpt::checkpoint::directory::shard_names;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in shard_names(bytes, "x").unwrap_or_default() {
        let path = Path::new("directory").join(&name);
        assert_eq!(path.parent(), Some(Path::new("directory")));
        assert_eq!(path.file_name().unwrap(), name.as_str());
    }
});

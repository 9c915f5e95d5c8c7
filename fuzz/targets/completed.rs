//! The stages that a run goes on after, behind a right checksum.
#![no_main]

use instructgpt::checkpoint::checksum::renew;
use instructgpt::run::completed::Completed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    renew(&mut bytes);
    if let Ok(completed) = Completed::parse(&bytes, "x") {
        let mut again = serde_json::to_vec(&completed).unwrap();
        renew(&mut again);
        let again = Completed::parse(&again, "x").unwrap();
        assert_eq!((again.stages, again.metrics), (completed.stages, completed.metrics));
    }
});

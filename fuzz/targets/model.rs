//! A whole model: `config.json`, a zero byte, then the safetensors file.
#![no_main]

use instructgpt::checkpoint::load_model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return };
    let (config, weights) = (&bytes[..end], &bytes[end + 1..]);
    if let Ok(model) = load_model(config, &[("a", weights)]) {
        assert_eq!(model.parameters.len(), model.layout.len);
        assert!(model.parameters.iter().all(|parameter| parameter.is_finite()));
        // Every tensor stands in the file once.
        assert!(load_model(config, &[("a", weights), ("b", weights)]).is_err());
    }
});

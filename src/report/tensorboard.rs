//! A run's measures as TensorBoard reads them: a file of events in the framing of TFRecord. An event is a protobuf
//! message, of which a few fields are enough to be written by hand:
//!
//! ```text
//! record: u64 length, u32 masked CRC-32C of the length, the message, u32 masked CRC-32C of the message
//! Event:   1 wall_time (double)  2 step (int64)  3 file_version (string)  5 summary (Summary)
//! Summary: 1 value (Summary.Value, repeated)
//! Value:   1 tag (string)  2 simple_value (float)
//! ```
//! (`tensorflow/core/util/event.proto`, `framework/summary.proto`, `lib/io/record_writer.h`.)

use std::fs;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc};

use super::Run;
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};

/// CRC-32C.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The name that TensorBoard looks for; without a time in it, so that a run written twice is there once.
const FILE: &str = "events.out.tfevents.0.instructgpt";

/// Writes the events of a run into a directory, which is created if it is missing, and returns their path. Tags are
/// `stage/measure`. The wall time of a step is the time at which its stage ended, or 0 where that is not known.
///
/// # Errors
/// [`Error::Io`].
pub fn write(run: &Run, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory).map_err(|e| Error::io(directory.display(), "create", e))?;
    let path = directory.join(FILE);
    write_atomic(&path, |file| file.write_all(&events(run)))?;
    Ok(path)
}

/// The file's bytes.
pub fn events(run: &Run) -> Vec<u8> {
    let mut out = Vec::new();
    record(&mut out, &[double(1, 0.0), string(3, "brain.Event:2")].concat());
    for stage in &run.stages {
        let ended = run.timings.iter().find(|t| t.stage == stage.name).map_or(0.0, |t| t.ended);
        for series in &stage.series {
            let tag = format!("{}/{}", stage.name, series.name);
            for &(step, value) in &series.points {
                let value = [string(1, &tag), float(2, value as f32)].concat();
                let summary = bytes(1, &value);
                record(&mut out, &[double(1, ended), varint_field(2, step), bytes(5, &summary)].concat());
            }
        }
    }
    out
}

/// TFRecord's CRC: rotated and shifted, so that the CRC of data that holds a CRC is no trouble.
fn masked(data: &[u8]) -> u32 {
    CRC32C.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn record(out: &mut Vec<u8>, message: &[u8]) {
    let length = (message.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
}

/// Seven bits a byte, the lowest first.
fn varint(mut x: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while x >= 0x80 {
        out.push(x as u8 | 0x80);
        x >>= 7;
    }
    out.push(x as u8);
    out
}

fn varint_field(field: u8, x: u64) -> Vec<u8> {
    [vec![field << 3], varint(x)].concat()
}

fn double(field: u8, x: f64) -> Vec<u8> {
    [vec![field << 3 | 1], x.to_le_bytes().to_vec()].concat()
}

fn float(field: u8, x: f32) -> Vec<u8> {
    [vec![field << 3 | 5], x.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u8, data: &[u8]) -> Vec<u8> {
    [vec![field << 3 | 2], varint(data.len() as u64), data.to_vec()].concat()
}

fn string(field: u8, text: &str) -> Vec<u8> {
    bytes(field, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Series, Stage, Timing};

    /// The messages of a file of records; a wrong checksum fails. Bit by bit, not with the crate that wrote it.
    fn records(mut rest: &[u8]) -> Vec<Vec<u8>> {
        fn crc(data: &[u8]) -> u32 {
            let mut crc = !0u32;
            for byte in data {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                }
            }
            !crc
        }
        let unmask = |found: &[u8]| {
            let masked = u32::from_le_bytes(found.try_into().unwrap());
            masked.wrapping_sub(0xa282_ead8).rotate_left(15)
        };
        assert_eq!(crc(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(unmask(&rest[8..12]), crc(&rest[..8]));
            assert_eq!(unmask(&rest[12 + length..16 + length]), crc(&rest[12..12 + length]));
            records.push(rest[12..12 + length].to_vec());
            rest = &rest[16 + length..];
        }
        records
    }

    #[test]
    fn the_bytes_of_an_event_by_hand() {
        let series = |name: &str, points: &[(u64, f64)]| Series {
            name: name.into(),
            points: points.to_vec(),
            broken: 0,
        };
        let stage = Stage { name: "ppo".into(), series: vec![series("kl", &[(1, 0.5), (300, -2.0)])] };
        let timing = Timing { stage: "ppo".into(), ended: 2.0, ..Timing::default() };
        let found = records(&events(&Run { stages: vec![stage], timings: vec![timing], ..Run::default() }));
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2");
        // 2.0, step 1, a summary of 15 bytes with a value of 13: a tag of 6 bytes, 0.5.
        assert_eq!(found[1], b"\x09\0\0\0\0\0\0\0\x40\x10\x01\x2a\x0f\x0a\x0d\x0a\x06ppo/kl\x15\0\0\0\x3f");
        // Step 300 is 0x12c: 0xac 0x02. -2.0.
        assert_eq!(
            found[2],
            b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0f\x0a\x0d\x0a\x06ppo/kl\x15\0\0\0\xc0"
        );
    }

    #[test]
    fn written_twice_it_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(&Run::default(), &directory.path().join("new")).unwrap();
        assert_eq!(write(&Run::default(), path.parent().unwrap()).unwrap(), path);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(records(&fs::read(&path).unwrap()).len(), 1);
    }
}

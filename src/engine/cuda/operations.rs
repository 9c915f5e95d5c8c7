//! The engine: from the names of buffers to addresses, and from operations to launches of the kernels of the same name.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Range;

use super::Cuda;
use super::batch::{DeviceBatch, Part};
use super::device::Argument::{Address, Float, Int, Long, Word};
use super::device::{Argument, Buffer, Kernel, Work};
use super::products::{Operand, Product, Start};
use crate::engine::activations::{COUNT, Name};
use crate::engine::plain::gradient_norm::CHUNK;
use crate::engine::sampling::{self, Choice, Choosing};
use crate::engine::types::*;
use crate::engine::{AdamState, Batch, Engine};
use crate::num::rng::{Purpose, Stage};

/// Threads of a block where each has an element, or half a warp a row; attention's kernels have their own.
pub(super) const BLOCK: usize = 256;

/// Token rows of whole sequences, with the address of every buffer.
pub struct Rows<'a> {
    batch: Arc<DeviceBatch>,
    /// N.
    n: usize,
    /// First row of each sequence, and N, (B + 1).
    offsets: &'a [usize],
    addresses: [u64; COUNT],
    widths: [usize; COUNT],
    buffers: PhantomData<&'a mut Buffer>,
}

impl Rows<'_> {
    fn at(&self, name: Name) -> Argument {
        Address(self.addresses[name as usize])
    }

    fn width(&self, name: Name) -> usize {
        self.widths[name as usize]
    }

    fn part(&self, part: Part) -> Argument {
        Address(self.batch.at(part))
    }
}

/// Parameters as the forward multiplies with them.
pub struct Weights<'a> {
    parameters: &'a Buffer,
    precision: Precision,
}

impl Weights<'_> {
    fn at(&self, range: &Range<usize>) -> Argument {
        Address(self.parameters.at(range.start))
    }
}

/// Keys and values of sequences that are being decoded; see `attention.cu`.
pub struct Cache {
    /// Of each layer, (slots, NH, HS, capacity).
    keys: Vec<Buffer>,
    /// Of each layer, (slots, NH, capacity, HS).
    values: Vec<Buffer>,
    capacity: usize,
}

/// Working memory of the language-model head: hidden rows, their gradients and logits of a chunk of targets.
pub struct Head {
    chunk: usize,
    hidden: Buffer,
    dhidden: Buffer,
    logits: Buffer,
}

/// Rows of logits that are held at a time: up to 128 M logits (512 MiB), as the product from them back to the hidden rows
/// has a block only for each 64 x 64 or so of its rows and columns.
pub fn head_rows(vocab_size: usize, targets: usize) -> usize {
    targets.min((128 << 20) / vocab_size.max(1)).max(16)
}

pub(super) fn int(value: usize) -> Argument {
    Int(i32::try_from(value).expect("a size below 2^31"))
}

/// Blocks of which each thread has an element.
fn blocks(threads: usize) -> [usize; 3] {
    [threads.div_ceil(BLOCK), 1, 1]
}

/// Blocks of which sixteen threads have a row.
fn row_blocks(rows: usize) -> [usize; 3] {
    blocks(16 * rows)
}

impl Cuda {
    fn run(&self, kernel: Kernel, grid: [usize; 3], arguments: &[Argument]) {
        self.0.begin([]).0.launch(kernel, grid, BLOCK, arguments);
    }

    /// The same for what adds to gradients that nothing else touches meanwhile.
    fn run_aside(&self, kernel: Kernel, grid: [usize; 3], arguments: &[Argument]) {
        self.0.begin([]).0.launch_aside(kernel, grid, BLOCK, arguments);
    }

    fn multiply(&self, c: Argument, product: &Product) {
        product.launch(&mut self.0.begin([]).0, &self.0.info, c);
    }

    /// From token rows to heads, or back.
    fn heads(&self, rows: &Rows, heads: Heads, in_heads: Name, (of_rows, from): (Name, usize), back: bool) {
        let arguments = [
            rows.at(in_heads),
            rows.at(of_rows),
            int(rows.width(of_rows)),
            int(from),
            Int(i32::from(back)),
            rows.part(Part::Sequences),
            rows.part(Part::Offsets),
            int(rows.n),
            int(heads.count),
            int(heads.size),
        ];
        self.run(Kernel::attention_heads, blocks(rows.n * heads.count * heads.size), &arguments);
    }

    /// Launches a kernel of attention: a block for each tile, head and 64 columns of a head.
    fn attend(&self, kernel: Kernel, rows: &Rows, heads: Heads, buffers: &[Name]) {
        let mut arguments: Vec<Argument> = buffers.iter().map(|&name| rows.at(name)).collect();
        let [tiles, offsets] = [Part::Tiles, Part::Offsets].map(|part| rows.part(part));
        arguments.extend([
            tiles,
            offsets,
            int(heads.size),
            window(heads),
            Float(scale(heads.size, heads.scaled)),
        ]);
        self.run(kernel, [rows.batch.tiles, heads.count, heads.size.div_ceil(64)], &arguments);
    }

    /// `y = x + mask branch / (1 - rate)`, without x `y = mask branch / (1 - rate)`.
    fn dropout(&self, rows: &Rows, y: Name, x: Argument, branch: Name, site: u32, dropout: Option<Dropout>) {
        let (n, c) = (rows.n, rows.width(y));
        // Of no dropout the kernel reads only that it is none.
        let none = Dropout { rate: 0.0, seed: 0, stage: Stage::Test, step: 0 };
        let Dropout { rate, seed, stage, step } = dropout.unwrap_or(none);
        let arguments = [
            rows.at(y),
            x,
            rows.at(branch),
            Int(i32::from(dropout.is_some())),
            Word((f64::from(rate) * 4294967296.0) as u32),
            Float(1.0 / (1.0 - rate)),
            Long(seed),
            Word(stage as u32),
            Word(Purpose::Dropout as u32),
            Long(step),
            Word(site),
            rows.part(Part::Numbers),
            rows.part(Part::Positions),
            int(n),
            int(c),
        ];
        self.run(Kernel::dropout, blocks(n * c.div_ceil(16)), &arguments);
    }

    /// Logits (n, V) of the n targets whose rows are listed at `targets`; their hidden rows are gathered first.
    fn logits_of(
        &self,
        work: &mut Work,
        (rows, targets, n): (&Rows, Argument, usize),
        (w, at): (&Weights, &Range<usize>),
        hidden: Argument,
        logits: Argument,
    ) {
        let c = rows.width(Name::Hidden);
        let gather = [hidden, rows.at(Name::Hidden), targets, int(n), int(c)];
        work.launch(Kernel::gather_rows, blocks(n * c), BLOCK, &gather);
        let (a, b) = (Operand::new(hidden, c), Operand::transposed(w.at(at), c));
        Product::new([n, at.len() / c, c], a, b, Start::Zero, w.precision).launch(work, &self.0.info, logits);
    }
}

/// How many of the latest positions a token sees, as the kernels are told.
fn window(heads: Heads) -> Argument {
    Int(heads.window.min(1 << 30) as i32)
}

fn with_tanh(activation: Activation) -> Argument {
    Int(i32::from(activation == Activation::GeluTanh))
}

/// Rows and tokens of targets, as the kernels get them.
fn words(targets: &[Target]) -> (Vec<u32>, Vec<u32>) {
    assert!(targets.is_sorted_by_key(|target| target.row), "the targets' rows do not ascend");
    targets.iter().map(|target| (target.row, target.token)).unzip()
}

/// Where the piece of the targets that begins at `start` ends: after `most` at the latest, and not between the two of a
/// pair, which are counted from the first of a sequence's targets. `offsets` are the sequences' first rows.
fn piece(targets: &[Target], offsets: &[usize], start: usize, most: usize) -> usize {
    let end = (start + most).min(targets.len());
    if end == targets.len() {
        return end;
    }
    let cut = targets[end].row as usize;
    let sequence = offsets.partition_point(|&offset| offset <= cut) - 1;
    let first = targets.partition_point(|target| (target.row as usize) < offsets[sequence]);
    end - (end - first.clamp(start, end)) % 2
}

/// Where the targets of each sequence begin in the piece `start..end`, counted from its first, and its length.
fn runs(targets: &[Target], offsets: &[usize], start: usize, end: usize) -> Vec<u32> {
    let first = |&offset: &usize| targets.partition_point(|target| (target.row as usize) < offset);
    let mut runs: Vec<u32> =
        offsets.iter().map(|offset| (first(offset).clamp(start, end) - start) as u32).collect();
    runs.dedup();
    runs
}

impl Engine for Cuda {
    type Buffer = Buffer;
    type Rows<'a> = Rows<'a>;
    type Weights<'a> = Weights<'a>;
    type Cache = Cache;
    type Head = Head;

    const DECODED: usize = 256;
    const ON_HOST: bool = false;

    fn buffer(&self, values: Vec<f32>) -> Buffer {
        let buffer = self.0.memory(values.len());
        self.0.begin([]).0.write(buffer.at(0), &values);
        buffer
    }
    fn values<'a>(&self, buffer: &'a Buffer) -> Cow<'a, [f32]> {
        let mut values = vec![0.0; buffer.len];
        self.0.begin([]).0.read(buffer.at(0), &mut values, f32::NAN);
        Cow::Owned(values)
    }
    fn read(&self, buffer: &Buffer, at: &Range<usize>) -> Vec<f32> {
        assert!(at.end <= buffer.len, "{at:?} of {} numbers", buffer.len);
        let mut values = vec![0.0; at.len()];
        self.0.begin([]).0.read(buffer.at(at.start), &mut values, f32::NAN);
        values
    }
    fn write(&self, buffer: &mut Buffer, at: &Range<usize>, values: &[f32]) {
        assert!(at.end <= buffer.len && at.len() == values.len(), "{at:?} of {} numbers", buffer.len);
        self.0.begin([]).0.write(buffer.at(at.start), values);
    }
    fn clear(&self, buffer: &mut Buffer) {
        self.0.begin([]).0.clear(buffer.at(0), buffer.len);
    }
    fn add(&self, sum: &mut Buffer, at: &Range<usize>, part: &Buffer) {
        let n = at.len().min(part.len);
        let arguments = [Address(sum.at(at.start)), Address(part.at(0)), Long(n as u64)];
        self.run(Kernel::add, blocks(n), &arguments);
    }
    fn first_non_finite(&self, buffer: &Buffer) -> Option<usize> {
        let chunks = buffer.len.div_ceil(CHUNK);
        let (mut work, [found]) = self.0.begin([chunks]);
        let arguments = [Address(found), Address(buffer.at(0)), Long(buffer.len as u64)];
        work.launch(Kernel::first_non_finite, row_blocks(chunks), BLOCK, &arguments);
        let mut firsts = vec![0u32; chunks];
        work.read(found, &mut firsts, 0);
        let chunk = firsts.iter().position(|&first| (first as usize) < CHUNK)?;
        Some(chunk * CHUNK + firsts[chunk] as usize)
    }

    fn rows<'a>(
        &self,
        batch: &'a Batch,
        buffers: [&'a mut Buffer; COUNT],
        widths: [usize; COUNT],
    ) -> Rows<'a> {
        let mut width = widths.into_iter();
        let addresses = buffers.map(|buffer| {
            let numbers = batch.len() * width.next().expect("a width for each");
            assert!(buffer.len == 0 || buffer.len >= numbers, "a buffer of {} for {numbers}", buffer.len);
            buffer.at(0)
        });
        Rows {
            batch: batch.on_device.get(self.0, batch),
            n: batch.len(),
            offsets: &batch.offsets,
            addresses,
            widths,
            buffers: PhantomData,
        }
    }
    fn regions(&self, rows: &mut Rows<'_>, _: usize, body: impl Fn(&mut Rows<'_>) + Sync) {
        body(rows);
    }
    fn clear_rows(&self, rows: &mut Rows<'_>, x: Name) {
        self.0.begin([]).0.clear(rows.addresses[x as usize], rows.n * rows.width(x));
    }
    fn values_in_rows(&self, rows: &mut Rows<'_>, x: Name) -> Vec<f32> {
        let address = rows.addresses[x as usize];
        let mut values = vec![0.0; if address == 0 { 0 } else { rows.n * rows.width(x) }];
        self.0.begin([]).0.read(address, &mut values, f32::NAN);
        values
    }
    fn reserve(&self, _: Heads, _: usize) {}

    fn weights<'a>(&self, parameters: &'a Buffer, precision: Precision) -> Weights<'a> {
        Weights { parameters, precision }
    }
    fn pack<'a>(&self, parameters: &'a Buffer, precision: Precision, _: &[WeightMatrix]) -> Weights<'a> {
        Weights { parameters, precision }
    }

    fn embedding(&self, rows: &mut Rows<'_>, w: &Weights<'_>, wte: &Range<usize>, wpe: &Range<usize>) {
        let (n, c) = (rows.n, rows.width(Name::X));
        let [tokens, positions] = [Part::Tokens, Part::Positions].map(|part| rows.part(part));
        let arguments = [rows.at(Name::X), tokens, positions, w.at(wte), w.at(wpe), int(n), int(c)];
        self.run(Kernel::embedding_forward, blocks(n * c), &arguments);
    }
    fn embedding_backward(
        &self,
        rows: &mut Rows<'_>,
        dx: Name,
        index: Index,
        table: &mut Buffer,
        at: &Range<usize>,
    ) {
        let (parts, distinct) = match index {
            Index::Token => ([Part::TokenIds, Part::TokenStarts, Part::TokenRows], rows.batch.distinct[0]),
            Index::Position => {
                ([Part::PositionIds, Part::PositionStarts, Part::PositionRows], rows.batch.distinct[1])
            }
        };
        let [ids, starts, sorted] = parts.map(|part| rows.part(part));
        let arguments = [Address(table.at(at.start)), rows.at(dx), ids, starts, sorted, int(rows.width(dx))];
        self.run(Kernel::embedding_backward, [distinct, 1, 1], &arguments);
    }

    fn layer_norm(
        &self,
        rows: &mut Rows<'_>,
        (y, stats): (Name, Name),
        x: Name,
        w: &Weights<'_>,
        at: &Norm,
        epsilon: f32,
    ) {
        let (n, c) = (rows.n, at.bias.len());
        let [y, stats, x] = [y, stats, x].map(|name| rows.at(name));
        let arguments = [y, stats, x, w.at(&at.weight), w.at(&at.bias), Float(epsilon), int(n), int(c)];
        self.run(Kernel::layer_norm_forward, row_blocks(n), &arguments);
    }
    fn layer_norm_backward(
        &self,
        rows: &mut Rows<'_>,
        dx: Name,
        dy: Name,
        (x, stats): (Name, Name),
        w: &Weights<'_>,
        at: &Norm,
    ) {
        let (n, c) = (rows.n, at.bias.len());
        let [dx, dy, x, stats] = [dx, dy, x, stats].map(|name| rows.at(name));
        let arguments = [dx, dy, x, stats, w.at(&at.weight), int(n), int(c)];
        self.run(Kernel::layer_norm_backward, row_blocks(n), &arguments);
    }
    fn layer_norm_parameters<const K: usize>(
        &self,
        rows: &mut Rows<'_>,
        norms: [(Name, (Name, Name), &Norm); K],
        gradients: &mut Buffer,
    ) {
        for (dy, (x, stats), at) in norms {
            let (n, c) = (rows.n, at.bias.len());
            let [dgamma, dbeta] = [&at.weight, &at.bias].map(|range| Address(gradients.at(range.start)));
            let [dy, x, stats] = [dy, x, stats].map(|name| rows.at(name));
            let arguments = [dgamma, dbeta, dy, x, stats, int(n), int(c)];
            self.run_aside(Kernel::layer_norm_parameters, blocks(c), &arguments);
        }
    }

    fn linear(&self, rows: &mut Rows<'_>, y: Name, x: Name, w: &Weights<'_>, at: &Linear) {
        let (inputs, outputs) = (at.inputs(), at.outputs);
        let (a, b) = (Operand::new(rows.at(x), inputs), Operand::new(w.at(&at.weight), outputs));
        let start = at.bias.as_ref().map_or(Start::Zero, |bias| Start::Bias(w.at(bias)));
        self.multiply(rows.at(y), &Product::new([rows.n, outputs, inputs], a, b, start, w.precision));
    }
    fn linear_backward(&self, rows: &mut Rows<'_>, dx: Name, dy: Name, w: &Weights<'_>, at: &Linear) {
        let (inputs, outputs) = (at.inputs(), at.outputs);
        let (a, b) = (Operand::new(rows.at(dy), outputs), Operand::transposed(w.at(&at.weight), outputs));
        self.multiply(rows.at(dx), &Product::new([rows.n, inputs, outputs], a, b, Start::Zero, w.precision));
    }
    fn linear_parameters<const K: usize>(
        &self,
        rows: &mut Rows<'_>,
        layers: [(Name, Name, &Linear); K],
        precision: Precision,
        gradients: &mut Buffer,
    ) {
        let gradient = |range: &Range<usize>| Address(gradients.at(range.start));
        for (dy, x, at) in layers {
            let (n, inputs, outputs) = (rows.n, at.inputs(), at.outputs);
            let (a, b) = (Operand::transposed(rows.at(x), inputs), Operand::new(rows.at(dy), outputs));
            let mut product = Product::new([inputs, outputs, n], a, b, Start::Accumulate, precision);
            product.runs(rows.batch.at(Part::Offsets), rows.offsets.len() - 1);
            let (kernel, grid) = product.shape(&self.0.info);
            self.run_aside(kernel, grid, &product.arguments(gradient(&at.weight)));
            if let Some(bias) = &at.bias {
                let arguments = [gradient(bias), rows.at(dy), int(n), int(outputs)];
                self.run_aside(Kernel::linear_bias, blocks(outputs), &arguments);
            }
        }
    }

    fn attention(&self, rows: &mut Rows<'_>, heads: Heads) {
        let c = rows.width(Name::Attention);
        for (part, name) in [Name::Q, Name::K, Name::V].into_iter().enumerate() {
            self.heads(rows, heads, name, (Name::Qkv, part * c), false);
        }
        let buffers = [Name::Heads, Name::HeadsStats, Name::Q, Name::K, Name::V];
        self.attend(Kernel::attention_forward, rows, heads, &buffers);
        self.heads(rows, heads, Name::Heads, (Name::Attention, 0), true);
    }
    fn attention_backward(&self, rows: &mut Rows<'_>, heads: Heads) {
        let c = rows.width(Name::Attention);
        self.heads(rows, heads, Name::DHeads, (Name::DLn1, 0), false);
        self.heads(rows, heads, Name::Heads, (Name::Attention, 0), false);
        let given = [Name::DHeads, Name::Heads, Name::HeadsStats, Name::Q, Name::K, Name::V];
        let with = |outputs: &[Name]| [outputs, &given].concat();
        self.attend(Kernel::attention_backward_queries, rows, heads, &with(&[Name::DQ]));
        self.attend(Kernel::attention_backward_keys, rows, heads, &with(&[Name::DK, Name::DV]));
        for (part, name) in [Name::DQ, Name::DK, Name::DV].into_iter().enumerate() {
            self.heads(rows, heads, name, (Name::Qkv, part * c), true);
        }
    }
    fn cache(&self, layers: usize, slots: usize, heads: Heads, capacity: usize) -> Cache {
        let layer = |_| self.0.memory(slots * heads.count * heads.size * capacity);
        Cache { keys: (0..layers).map(layer).collect(), values: (0..layers).map(layer).collect(), capacity }
    }
    fn attention_cached(
        &self,
        rows: &mut Rows<'_>,
        heads: Heads,
        cache: &mut Cache,
        layer: usize,
        slots: &[usize],
    ) {
        let (n, c) = (rows.n, heads.count * heads.size);
        let [keys, values] = [&cache.keys, &cache.values].map(|layers| Address(layers[layer].at(0)));
        let [sequences, offsets, positions] =
            [Part::Sequences, Part::Offsets, Part::Positions].map(|part| rows.part(part));
        let [count, size, capacity] = [heads.count, heads.size, cache.capacity].map(int);
        let (qkv, out) = (rows.at(Name::Qkv), rows.at(Name::Heads));
        {
            let (mut work, [slots_at]) = self.0.begin([slots.len()]);
            work.write(slots_at, &slots.iter().map(|&slot| slot as u32).collect::<Vec<_>>());
            let slots = Address(slots_at);
            let append = [keys, values, qkv, slots, sequences, positions, int(n), count, size, capacity];
            work.launch(Kernel::attention_append, blocks(n * c), BLOCK, &append);
            let shape = [count, size, capacity, window(heads), Float(scale(heads.size, heads.scaled))];
            let decode =
                [&[out, keys, values, qkv, slots, sequences, offsets, positions], &shape[..]].concat();
            work.launch(Kernel::attention_decode, [n, heads.count, 1], 128, &decode);
        }
        self.heads(rows, heads, Name::Heads, (Name::Attention, 0), true);
    }

    fn gelu(&self, rows: &mut Rows<'_>, y: Name, x: Name, activation: Activation) {
        let n = rows.n * rows.width(y);
        let arguments = [rows.at(y), rows.at(x), with_tanh(activation), Long(n as u64)];
        self.run(Kernel::gelu_forward, blocks(n), &arguments);
    }
    fn gelu_backward(&self, rows: &mut Rows<'_>, dy: Name, x: Name, activation: Activation) {
        let n = rows.n * rows.width(dy);
        let arguments = [rows.at(dy), rows.at(x), with_tanh(activation), Long(n as u64)];
        self.run(Kernel::gelu_backward, blocks(n), &arguments);
    }

    fn residual(
        &self,
        rows: &mut Rows<'_>,
        y: Name,
        x: Name,
        branch: Name,
        site: u32,
        dropout: Option<Dropout>,
    ) {
        self.dropout(rows, y, rows.at(x), branch, site, dropout);
    }
    fn residual_backward(
        &self,
        rows: &mut Rows<'_>,
        dbranch: Name,
        dy: Name,
        site: u32,
        dropout: Option<Dropout>,
    ) {
        self.dropout(rows, dbranch, Address(0), dy, site, dropout);
    }

    fn head(&self, vocab_size: usize, width: usize, targets: usize) -> Head {
        let chunk = head_rows(vocab_size, targets);
        Head {
            chunk,
            hidden: self.0.memory(chunk * width),
            dhidden: self.0.memory(chunk * width),
            logits: self.0.memory(chunk * vocab_size),
        }
    }
    fn log_probs(
        &self,
        rows: &mut Rows<'_>,
        w: &Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        temperature: f32,
        outputs: Outputs,
        mut gradient: Option<(&[f32], &mut Buffer)>,
        mut relay: Option<&mut dyn Relayed>,
        work: &mut Head,
    ) {
        let (c, precision) = (rows.width(Name::Hidden), w.precision);
        // While nobody waits for the device: what a rank is given may come from one that needs it.
        if let (Some(relay), Some((_, gradients))) = (&mut relay, &mut gradient) {
            for at in pieces(at, c) {
                relay.take_over(at.len()).iter().for_each(|before| self.write(gradients, &at, before));
            }
        }
        let vocab = at.len() / c;
        let (target_rows, tokens) = words(targets);
        let [hidden, dhidden, logits] =
            [&work.hidden, &work.dhidden, &work.logits].map(|buffer| Address(buffer.at(0)));
        let mut start = 0;
        while start < targets.len() {
            let end = piece(targets, rows.offsets, start, work.chunk);
            let n = end - start;
            let runs = runs(targets, rows.offsets, start, end);
            let (mut device, [rows_at, tokens_at, slopes_at, log_probs, entropies, runs_at]) =
                self.0.begin([n, n, n, n, n, runs.len()]);
            device.write(rows_at, &target_rows[start..end]);
            device.write(tokens_at, &tokens[start..end]);
            if let Some((slopes, _)) = &gradient {
                device.write(slopes_at, &slopes[start..end]);
                device.write(runs_at, &runs);
            }
            self.logits_of(&mut device, (rows, Address(rows_at), n), (w, at), hidden, logits);
            let slopes = if gradient.is_some() { slopes_at } else { 0 };
            let arguments = [
                Address(log_probs),
                Address(entropies),
                logits,
                Address(tokens_at),
                Address(slopes),
                Float(temperature),
                int(n),
                int(vocab),
            ];
            device.launch(Kernel::log_prob, row_blocks(n), BLOCK, &arguments);
            if let Some((_, gradients)) = &gradient {
                // The logits are their own gradient now.
                let (a, b) = (Operand::new(logits, vocab), Operand::new(w.at(at), c));
                Product::new([n, c, vocab], a, b, Start::Zero, precision).launch(
                    &mut device,
                    &self.0.info,
                    dhidden,
                );
                let arguments = [rows.at(Name::DHidden), dhidden, Address(rows_at), int(n), int(c)];
                device.launch(Kernel::scatter_rows, blocks(n * c), BLOCK, &arguments);
                let (a, b) = (Operand::transposed(logits, vocab), Operand::new(hidden, c));
                let mut dweight = Product::new([vocab, c, n], a, b, Start::Accumulate, precision);
                dweight.runs(runs_at, runs.len() - 1);
                dweight.launch(&mut device, &self.0.info, Address(gradients.at(at.start)));
            }
            device.read(log_probs, &mut outputs.log_probs[start..end], f32::NAN);
            device.read(entropies, &mut outputs.entropies[start..end], f32::NAN);
            start = end;
        }
        if let (Some(relay), Some((_, gradients))) = (relay, &gradient) {
            pieces(at, c).for_each(|at| relay.hand_on(self.read(gradients, &at)));
        }
    }
    fn scalars(
        &self,
        rows: &mut Rows<'_>,
        w: &Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        values: &mut [f32],
    ) {
        let (n, c) = (targets.len(), rows.width(Name::Hidden));
        let (mut work, [rows_at, values_at]) = self.0.begin([n, n]);
        work.write(rows_at, &words(targets).0);
        let arguments =
            [Address(values_at), rows.at(Name::Hidden), w.at(at), Address(rows_at), int(n), int(c)];
        work.launch(Kernel::scalar_head_forward, blocks(n), BLOCK, &arguments);
        work.read(values_at, values, f32::NAN);
    }
    fn scalars_backward(
        &self,
        rows: &mut Rows<'_>,
        w: &Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        slopes: &[f32],
        gradients: &mut Buffer,
    ) {
        let (n, c) = (targets.len(), rows.width(Name::Hidden));
        let (mut work, [rows_at, slopes_at]) = self.0.begin([n, n]);
        work.write(rows_at, &words(targets).0);
        work.write(slopes_at, slopes);
        let [slopes, listed] = [slopes_at, rows_at].map(Address);
        let to_hidden = [rows.at(Name::DHidden), slopes, w.at(at), listed, int(n), int(c)];
        work.launch(Kernel::scalar_head_backward, blocks(n * c), BLOCK, &to_hidden);
        let dw = Address(gradients.at(at.start));
        let to_weight = [dw, slopes, rows.at(Name::Hidden), listed, int(n), int(c)];
        work.launch(Kernel::scalar_head_weight, blocks(c), BLOCK, &to_weight);
    }
    fn logits(
        &self,
        rows: &mut Rows<'_>,
        w: &Weights<'_>,
        at: &Range<usize>,
        last: &[Target],
        logits: &mut [f32],
    ) {
        let (n, c) = (last.len(), rows.width(Name::Hidden));
        let (mut work, [rows_at, hidden, logits_at]) = self.0.begin([n, n * c, logits.len()]);
        work.write(rows_at, &words(last).0);
        let targets = (&*rows, Address(rows_at), n);
        self.logits_of(&mut work, targets, (w, at), Address(hidden), Address(logits_at));
        work.read(logits_at, logits, f32::NAN);
    }
    fn next_tokens(
        &self,
        rows: &mut Rows<'_>,
        w: &Weights<'_>,
        at: &Range<usize>,
        last: &[Target],
        how: Choosing,
        uniforms: &[f32],
        on_host: &mut Vec<f32>,
    ) -> Vec<Choice> {
        let (n, c) = (last.len(), rows.width(Name::Hidden));
        let vocab = at.len() / c;
        if how.is_cut() {
            // Cutting a distribution takes sorting it: on the host.
            on_host.resize(n * vocab, 0.0);
            self.logits(rows, w, at, last, on_host);
            return sampling::choose_all(on_host, vocab, how, uniforms);
        }
        let (mut work, [rows_at, hidden, logits, uniforms_at, tokens, log_probs, entropies]) =
            self.0.begin([n, n * c, n * vocab, n, n, n, n]);
        work.write(rows_at, &words(last).0);
        work.write(uniforms_at, uniforms);
        let targets = (&*rows, Address(rows_at), n);
        self.logits_of(&mut work, targets, (w, at), Address(hidden), Address(logits));
        let addresses = [tokens, log_probs, entropies, logits, uniforms_at].map(Address);
        let how = [Float(how.divisor()), Int(i32::from(how.is_greedy())), int(n), int(vocab)];
        work.launch(Kernel::sample, row_blocks(n), BLOCK, &[&addresses[..], &how].concat());
        let mut choices = (vec![0u32; n], vec![0.0; n], vec![0.0; n]);
        work.read(tokens, &mut choices.0, 0);
        work.read(log_probs, &mut choices.1, f32::NAN);
        work.read(entropies, &mut choices.2, f32::NAN);
        (0..n)
            .map(|i| Choice { token: choices.0[i], log_prob: choices.1[i], entropy: choices.2[i] })
            .collect()
    }

    fn gradient_norm(&self, gradients: &Buffer) -> f32 {
        let chunks = gradients.len.div_ceil(CHUNK);
        let (mut work, [parts_at]) = self.0.begin([chunks]);
        let arguments = [Address(parts_at), Address(gradients.at(0)), Long(gradients.len as u64)];
        work.launch(Kernel::gradient_norm, row_blocks(chunks), BLOCK, &arguments);
        let mut parts = vec![0.0f32; chunks];
        work.read(parts_at, &mut parts, f32::NAN);
        libm::sqrt(parts.iter().fold(0.0, |total, &part| total + f64::from(part))) as f32
    }
    fn adamw(
        &self,
        state: AdamState<'_, Buffer>,
        gradients: &Buffer,
        at: &Range<usize>,
        constants: AdamConstants,
    ) {
        let AdamState { parameters, first_moment, second_moment, average } = state;
        let buffers = [&*parameters, gradients, &*first_moment, &*second_moment];
        let mut arguments: Vec<Argument> =
            buffers.iter().map(|buffer| Address(buffer.at(at.start))).collect();
        arguments.push(Address(average.map_or(0, |average| average.at(at.start))));
        let c = constants;
        let floats = [
            c.gradient_scale,
            c.beta1,
            c.rest1,
            c.beta2,
            c.rest2,
            c.root_scale,
            c.epsilon,
            c.rate,
            c.keep,
            c.average_rest,
        ];
        arguments.extend(floats.map(Float));
        arguments.push(Long(at.len() as u64));
        self.run(Kernel::adamw, blocks(at.len()), &arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(rows: &[u32]) -> Vec<Target> {
        rows.iter().map(|&row| Target { row, token: 0 }).collect()
    }

    #[test]
    fn pieces_part_no_pair() {
        // Two sequences of rows 0..5 and 5..9; of the first three rows count, of the second all.
        let (targets, offsets) = (targets(&[1, 2, 3, 5, 6, 7, 8]), [0, 5, 9]);
        let ends = |most: usize| {
            let (mut ends, mut start) = (vec![], 0);
            while start < targets.len() {
                start = piece(&targets, &offsets, start, most);
                ends.push(start);
            }
            ends
        };
        assert_eq!(ends(9), [7]);
        // A cut between two sequences parts none; one inside keeps pairs, counted from the sequence's first.
        assert_eq!(ends(3), [3, 5, 7]);
        assert_eq!(ends(4), [3, 7]);
        assert_eq!(ends(2), [2, 3, 5, 7]);
        assert_eq!(runs(&targets, &offsets, 0, 7), [0, 3, 7]);
        assert_eq!(runs(&targets, &offsets, 2, 5), [0, 1, 3]);
        assert_eq!(runs(&targets, &offsets, 3, 7), [0, 4]);
    }
}

//! Ranks that are processes of an MPI job, on one machine or on many, as `mpirun`, `mpiexec` or `srun` starts them.
//!
//! The MPI library is loaded when the program runs, so that one program serves all of them and none is needed to build
//! it. There are two families, whose handles differ: of Open MPI's they are addresses of the library's objects; of
//! MPICH's (Intel MPI, MVAPICH, Cray MPI have its binary interface) they are numbers.
//!
//! One thread makes all MPI calls. It has nothing else to do, so that what is on its way goes on moving while the
//! others compute: with some libraries it only does inside a call.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::env;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::mailbox::Mailbox;
use super::{Lane, Ranks};
use crate::error::{Error, Result};

/// The library to load, for whoever wants another than the launcher's.
pub const LIBRARY: &str = "INSTRUCTGPT_MPI";

/// A rank of an MPI job.
pub struct Mpi {
    rank: usize,
    size: usize,
    library: String,
    orders: Sender<Order>,
    own: Arc<Mailbox>,
    waiting: Arc<AtomicBool>,
}

/// What the thread of MPI is told.
enum Order {
    Send(Lane, Vec<u32>),
    /// Everything is sent; says so when MPI has ended.
    End(Sender<()>),
    /// Ends the job, all of its ranks.
    Abort(u8),
}

impl Mpi {
    /// The rank that this process is, if a launcher has started it as one.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no MPI library that can be used.
    pub fn start() -> Result<Option<&'static Mpi>> {
        if !super::is_launched() {
            return Ok(None);
        }
        let (orders, told) = channel();
        let (own, waiting) = (Arc::<Mailbox>::default(), Arc::<AtomicBool>::default());
        let (started, start) = channel();
        let (mailbox, busy) = (own.clone(), waiting.clone());
        let body = move || match Calls::load() {
            Err(error) => drop(started.send(Err(error))),
            Ok(calls) => {
                let _ = started.send(Ok((calls.rank, calls.size, calls.library.clone())));
                calls.serve(&told, &mailbox, &busy);
            }
        };
        let failed = |error: &dyn ToString| Error::device("a thread for MPI", error.to_string(), "");
        thread::Builder::new().name("mpi".into()).spawn(body).map_err(|error| failed(&error))?;
        let (rank, size, library) = start.recv().map_err(|error| failed(&error))??;
        Ok(Some(Box::leak(Box::new(Mpi { rank, size, library, orders, own, waiting }))))
    }

    /// The library that was loaded.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// Ends MPI, when all messages have been sent; all ranks must call it.
    pub fn end(&self) {
        let (done, ended) = channel();
        if self.orders.send(Order::End(done)).is_ok() {
            let _ = ended.recv();
        }
    }

    /// Ends the job with all its ranks, and this process with it.
    pub fn abort(&self, code: u8) -> ! {
        let _ = self.orders.send(Order::Abort(code));
        // MPI_Abort ends the process; should it not, so do we.
        thread::sleep(Duration::from_secs(10));
        std::process::exit(code.into())
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, lane: Lane, message: Vec<u32>) {
        self.orders.send(Order::Send(lane, message)).expect("the thread of MPI serves to the end");
    }

    fn receive(&self, lane: Lane) -> Vec<u32> {
        self.waiting.store(true, Ordering::Relaxed);
        let message = self.own.take(lane);
        self.waiting.store(false, Ordering::Relaxed);
        message
    }
}

/// A communicator or a data type: an address, or a number in its lower half.
type Handle = usize;
/// A request in transit.
type Request = usize;
/// Room for a status of either family.
type Status = [u64; 8];

type Transfer = unsafe extern "C" fn(*const u32, c_int, Handle, c_int, c_int, Handle, *mut Request) -> c_int;
type Receive = unsafe extern "C" fn(*mut u32, c_int, Handle, c_int, c_int, Handle, *mut Status) -> c_int;
type Probe = unsafe extern "C" fn(c_int, c_int, Handle, *mut c_int, *mut Status) -> c_int;
type Test = unsafe extern "C" fn(*mut Request, *mut c_int, *mut Status) -> c_int;
type Count = unsafe extern "C" fn(*const Status, Handle, *mut c_int) -> c_int;

/// The functions of an MPI library, and what it says of this process.
struct Calls {
    rank: usize,
    size: usize,
    library: String,
    world: Handle,
    byte: Handle,
    isend: Transfer,
    recv: Receive,
    iprobe: Probe,
    test: Test,
    get_count: Count,
    finalize: unsafe extern "C" fn() -> c_int,
    abort: unsafe extern "C" fn(Handle, c_int) -> c_int,
}

impl Calls {
    /// Loads the library, and begins.
    fn load() -> Result<Calls> {
        let wrong = |found: String| {
            let hint =
                format!("install Open MPI 4 or later or MPICH 3 or later, or name the library in {LIBRARY}");
            Error::device("an MPI library, as a launcher of MPI started this program", found, hint)
        };
        let open_mpi = &["libmpi.so.40"][..];
        let mpich = &["libmpi.so.12", "libmpich.so.12"][..];
        let own = env::var(LIBRARY);
        let names: Vec<&str> = match &own {
            Ok(name) => vec![name],
            Err(_) if env::var_os("OMPI_COMM_WORLD_SIZE").is_some() => open_mpi.to_vec(),
            Err(_) if env::var_os("PMI_RANK").is_some() => [mpich, open_mpi].concat(),
            Err(_) => [open_mpi, mpich].concat(),
        };
        let mut reasons = Vec::new();
        for name in names {
            // SAFETY: an MPI library's initialisers may run in any process. Open MPI's plug-ins find it by RTLD_GLOBAL.
            match unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) } {
                // SAFETY: the library is an MPI library by its name, and this thread makes all calls.
                Ok(library) => return unsafe { Calls::begin(library, name) }.map_err(wrong),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(wrong(reasons.join("; ")))
    }

    /// # Safety
    /// `library` must be an MPI library, and the calling thread the only one that ever calls it.
    unsafe fn begin(library: Library, name: &str) -> core::result::Result<Calls, String> {
        // It stays to the end of the process: its threads may outlive any owner.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: these are the types that the MPI standard gives the functions, with handles as wide as either family's;
        // where a handle is an int, the callee reads the lower half of the register or of the little-endian word.
        unsafe {
            let init: unsafe extern "C" fn(usize, usize, c_int, *mut c_int) -> c_int =
                function(library, "MPI_Init_thread")?;
            let address = |name: &str| {
                library.get::<*const c_void>(name).ok().map(|symbol| symbol.into_raw() as Handle)
            };
            let (world, byte, family) = match (address("ompi_mpi_comm_world"), address("ompi_mpi_byte")) {
                (Some(world), Some(byte)) => (world, byte, "Open MPI"),
                _ => (0x4400_0000, 0x4c00_010d, "MPICH"),
            };
            let rank_of: unsafe extern "C" fn(Handle, *mut c_int) -> c_int =
                function(library, "MPI_Comm_rank")?;
            let size_of: unsafe extern "C" fn(Handle, *mut c_int) -> c_int =
                function(library, "MPI_Comm_size")?;
            let (funneled, mut provided, mut rank, mut size) = (1, 0, 0, 0);
            init(0, 0, funneled, &mut provided);
            rank_of(world, &mut rank);
            size_of(world, &mut size);
            if provided < funneled || size < 1 {
                return Err(format!("{name}, which allows no threads"));
            }
            Ok(Calls {
                rank: rank as usize,
                size: size as usize,
                library: format!("{name} ({family})"),
                world,
                byte,
                isend: function(library, "MPI_Isend")?,
                recv: function(library, "MPI_Recv")?,
                iprobe: function(library, "MPI_Iprobe")?,
                test: function(library, "MPI_Test")?,
                get_count: function(library, "MPI_Get_count")?,
                finalize: function(library, "MPI_Finalize")?,
                abort: function(library, "MPI_Abort")?,
            })
        }
    }

    /// Sends what it is told to and fills the mailbox, to the end. An error inside MPI ends the job: its default.
    fn serve(&self, orders: &Receiver<Order>, own: &Mailbox, waiting: &AtomicBool) {
        let mut on_the_way: VecDeque<(Request, Vec<u32>)> = VecDeque::new();
        let mut ends = None;
        let mut idle = 0;
        loop {
            // A rank without others has nothing to look for, and one that computes can wait a little.
            let pause = match idle {
                _ if self.size == 1 => Duration::from_secs(3600),
                0..=50 => Duration::ZERO,
                _ if waiting.load(Ordering::Relaxed) || !on_the_way.is_empty() => Duration::from_micros(20),
                _ => Duration::from_micros(200),
            };
            idle += 1;
            match orders.recv_timeout(pause) {
                Ok(Order::Send(lane, message)) => {
                    idle = 0;
                    on_the_way.push_back((self.send(lane, &message), message));
                }
                Ok(Order::End(done)) => ends = Some(done),
                Ok(Order::Abort(code)) => {
                    // SAFETY: MPI has begun, and this is its thread.
                    unsafe { (self.abort)(self.world, code.into()) };
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if idle > 0 && pause.is_zero() {
                thread::yield_now();
            }
            for lane in [Lane::Gradient, Lane::Findings] {
                if let Some(message) = self.receive(lane) {
                    idle = 0;
                    own.put(lane, message);
                }
            }
            while on_the_way.front_mut().is_some_and(|(request, _)| self.is_done(request)) {
                on_the_way.pop_front();
            }
            if let Some(done) = ends.take_if(|_| on_the_way.is_empty()) {
                // SAFETY: MPI has begun, and this is its thread.
                unsafe { (self.finalize)() };
                let _ = done.send(());
                return;
            }
        }
    }

    /// Begins to send to the next rank. The message must stay where it is until it is done.
    fn send(&self, lane: Lane, message: &[u32]) -> Request {
        let (next, mut request) = ((self.rank + 1) % self.size, 0);
        // SAFETY: the message stays in memory until the request is done, as [`Calls::serve`] keeps it.
        unsafe {
            let bytes = bytes(message.len());
            (self.isend)(
                message.as_ptr(),
                bytes,
                self.byte,
                next as c_int,
                lane as c_int,
                self.world,
                &mut request,
            );
        }
        request
    }

    /// The next message of the rank before, if one is there.
    fn receive(&self, lane: Lane) -> Option<Vec<u32>> {
        if self.size == 1 {
            return None;
        }
        let before = ((self.rank + self.size - 1) % self.size) as c_int;
        let (mut is_there, mut count, mut status) = (0, 0, Status::default());
        // SAFETY: the message that was looked at is received into as much memory as it needs.
        unsafe {
            (self.iprobe)(before, lane as c_int, self.world, &mut is_there, &mut status);
            if is_there == 0 {
                return None;
            }
            (self.get_count)(&status, self.byte, &mut count);
            let mut message = vec![0; count as usize / 4];
            let words = message.as_mut_ptr();
            (self.recv)(words, count, self.byte, before, lane as c_int, self.world, &mut status);
            Some(message)
        }
    }

    fn is_done(&self, request: &mut Request) -> bool {
        let (mut done, mut status) = (0, Status::default());
        // SAFETY: the request is one that was begun, and is not asked about again once it is done.
        unsafe { (self.test)(ptr::from_mut(request), &mut done, &mut status) };
        done != 0
    }
}

/// The bytes of a message, as MPI counts.
fn bytes(words: usize) -> c_int {
    c_int::try_from(4 * words).expect("a message below 2 GiB")
}

/// # Safety
/// `T` must be the function's type.
unsafe fn function<T: Copy>(library: &'static Library, name: &str) -> core::result::Result<T, String> {
    // SAFETY: as the caller promises.
    unsafe { library.get::<T>(name) }.map(|symbol| *symbol).map_err(|error| error.to_string())
}

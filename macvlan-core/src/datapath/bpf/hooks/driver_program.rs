//! Programs on a function of the macvlan driver: before it and behind it.
//!
//! They are a few instructions, put together here: where the members of the driver's structures are differs from
//! kernel to kernel, and aya 0.14 loads no program for a function of a module, which the driver is on most.

use std::{
    ffi::CStr,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya_obj::generated::{bpf_attach_type, bpf_btf_info, bpf_cmd, bpf_prog_type};
use macvlan_common::sending::{LOWER, NOW};

use crate::{
    datapath::bpf::hooks::link::{bpf, no_attributes},
    kernel::{btf::Btf, errno::errno},
};

/// The driver, as a module.
const MODULE: &str = "macvlan";

/// What every frame of a macvlan or macvtap device passes (drivers/net/macvlan.c), and is sent on by before it
/// returns, on the same processor.
const FUNCTION: &str = "macvlan_start_xmit";

/// Why the kernel takes no program on the driver, once it has said so: a process asks it once.
static REFUSAL: OnceLock<String> = OnceLock::new();

/// Where the driver and the kernel keep what the programs ask for.
pub struct Driver {
    /// The function's id, and the module's types where it is one.
    function: (u32, Option<OwnedFd>),
    /// From a macvlan's `struct net_device` to the address of its master's.
    lower: u32,
    /// In a `struct net_device`: its index, and the address of its namespace.
    index: u32,
    netns: u32,
    /// In a `struct net`: the inode number.
    inode: u32,
}

/// Which master frames are sent through.
#[derive(Debug, Clone, Copy)]
pub struct Lower {
    /// Its index.
    pub index: u32,
    /// Inode number of its namespace.
    pub netns: u64,
}

impl Driver {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// It tells nothing of its types, or not what is needed; the driver is not there; the process may not ask for
    /// the types of a module (`CAP_SYS_ADMIN`); or the kernel has refused a program.
    pub fn find() -> Result<Self> {
        if let Some(refusal) = REFUSAL.get() {
            bail!("{refusal}");
        }
        let wanted = [FUNCTION, "macvlan_dev", "net_device", "net", "ns_common"];
        let btf = Btf::read(MODULE, &wanted)?;
        let (function, is_of_module) = btf.function(FUNCTION)?;
        let module = if is_of_module { Some(types_of_module()?) } else { None };
        // `netdev_priv` in include/linux/netdevice.h.
        let private = btf.size_of("net_device")?.next_multiple_of(32);
        Ok(Self {
            function: (function, module),
            lower: private + btf.offset_of("macvlan_dev", "lowerdev")?,
            index: btf.offset_of("net_device", "ifindex")?,
            netns: btf.offset_of("net_device", "nd_net")?,
            inode: btf.offset_of("net", "ns")? + btf.offset_of("ns_common", "inum")?,
        })
    }

    /// Says in the map, of this processor, that a macvlan of this master sends; or of another one, that none does.
    /// What of the kernel's memory is read is there: the device that sends holds its master.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub fn put_before(&self, name: &CStr, map: &OwnedFd, lower: Lower) -> Result<OwnedFd> {
        let read = |length, from: u32| {
            // From what r8 leads to, into the lowest word of the stack.
            [
                store_immediate(10, -16, 0),
                copy(3, 8),
                add(3, from),
                copy(1, 10),
                add(1, -16_i32 as u32),
                set(2, length),
                call(PROBE_READ_KERNEL),
                load(1, 10, -16),
            ]
        };
        let mut code = Code::default();
        code.extend(&[load(8, 1, 8)]);
        code.extend(&look_up(map));
        code.skip_if_zero(0);
        code.extend(&[copy(7, 0)]);
        code.extend(&read(8, self.lower));
        code.extend(&[copy(9, 1), load(2, 7, LOWER)]);
        let known = code.jump_if_equal(9, 2);
        code.extend(&[store_immediate(7, NOW, 0), copy(8, 9)]);
        code.extend(&read(4, self.index));
        code.skip_unless(1, lower.index);
        code.extend(&read(8, self.netns));
        code.extend(&[copy(8, 1)]);
        code.extend(&read(4, self.inode));
        code.skip_unless(1, lower.netns as u32);
        code.extend(&[store(7, LOWER, 9)]);
        code.land(known);
        code.extend(&[store_immediate(7, NOW, 1)]);
        self.put(name, bpf_attach_type::BPF_TRACE_FENTRY, code.end())
    }

    /// Says in the map that no macvlan sends any more.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub fn put_behind(&self, name: &CStr, map: &OwnedFd) -> Result<OwnedFd> {
        let mut code = Code::default();
        code.extend(&look_up(map));
        code.skip_if_zero(0);
        code.extend(&[store_immediate(0, NOW, 0)]);
        self.put(name, bpf_attach_type::BPF_TRACE_FEXIT, code.end())
    }

    /// Loads a program and puts it in place. Gives the link.
    fn put(&self, name: &CStr, place: bpf_attach_type, code: Vec<u64>) -> Result<OwnedFd> {
        const LICENSE: &CStr = c"GPL";
        let mut log = vec![0_u8; 4096];
        let mut attributes = no_attributes();
        // SAFETY: every field of the union is plain data, and all of it is zero.
        let program = unsafe { &mut attributes.__bindgen_anon_3 };
        program.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
        program.expected_attach_type = place as u32;
        program.insns = code.as_ptr() as u64;
        program.insn_cnt = code.len() as u32;
        program.license = LICENSE.as_ptr() as u64;
        program.log_level = 1;
        program.log_size = log.len() as u32;
        program.log_buf = log.as_mut_ptr() as u64;
        for (to, from) in program.prog_name.iter_mut().zip(name.to_bytes()) {
            *to = *from as _;
        }
        program.attach_btf_id = self.function.0;
        if let Some(module) = &self.function.1 {
            program.__bindgen_anon_1.attach_btf_obj_fd = module.as_raw_fd().unsigned_abs();
        }
        // SAFETY: the addresses are those of live buffers, whose lengths are given beside them.
        let loaded = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes) };
        let program = loaded.map_err(|error| {
            let log = log.split(|byte| *byte == 0).next().unwrap_or_default();
            let word = String::from_utf8_lossy(log);
            let word = word.lines().rfind(|line| !line.is_empty() && !line.starts_with("processed"));
            let word = word.map(|line| format!(" ({line})")).unwrap_or_default();
            let refusal = format!("the kernel refuses program {name:?}: {}{word}", errno(&error));
            anyhow!("{}", REFUSAL.get_or_init(|| refusal))
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let mut attributes = no_attributes();
        // SAFETY: as above.
        unsafe { &mut attributes.raw_tracepoint }.prog_fd = program.as_raw_fd().unsigned_abs();
        // SAFETY: the command reads a descriptor and no address.
        let link = unsafe { bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attributes) };
        let link = link.map_err(|error| anyhow!("cannot put {name:?} on {FUNCTION}: {}", errno(&error)))?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(link) })
    }
}

/// The types of the driver as a module, by which the kernel knows it.
fn types_of_module() -> Result<OwnedFd> {
    let mut id = 0;
    loop {
        let mut attributes = no_attributes();
        attributes.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        // SAFETY: the command reads and writes numbers and no address.
        let next = unsafe { bpf(bpf_cmd::BPF_BTF_GET_NEXT_ID, &mut attributes) };
        next.with_context(|| format!("the kernel tells nothing of the types of module {MODULE}"))?;
        // SAFETY: the command wrote this member.
        id = unsafe { attributes.__bindgen_anon_6.next_id };
        let mut attributes = no_attributes();
        attributes.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
        // SAFETY: as above.
        let Ok(fd) = (unsafe { bpf(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attributes) }) else { continue };
        // SAFETY: the kernel has just made this descriptor for us.
        let types = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut name = [0_u8; 16];
        // SAFETY: all zeros are a value of every field.
        let mut info: bpf_btf_info = unsafe { std::mem::zeroed() };
        info.name = name.as_mut_ptr() as u64;
        info.name_len = name.len() as u32;
        let mut attributes = no_attributes();
        attributes.info.bpf_fd = types.as_raw_fd().unsigned_abs();
        attributes.info.info_len = size_of::<bpf_btf_info>() as u32;
        attributes.info.info = (&raw mut info) as u64;
        // SAFETY: the addresses are those of live buffers, whose lengths are given beside them.
        let told = unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes) };
        let is_it = CStr::from_bytes_until_nul(&name).is_ok_and(|name| name.to_bytes() == MODULE.as_bytes());
        if told.is_ok() && info.kernel_btf == 1 && is_it {
            return Ok(types);
        }
    }
}

/// `bpf_map_lookup_elem` and `bpf_probe_read_kernel`.
const MAP_LOOKUP: u32 = 1;
const PROBE_READ_KERNEL: u32 = 113;

/// One instruction (Documentation/bpf/standardization/instruction-set.rst).
const fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: u32) -> u64 {
    let registers = ((source << 4 | target) as u64) << 8;
    code as u64 | registers | ((offset as u16) as u64) << 16 | (immediate as u64) << 32
}

/// A register from another.
const fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

/// A number into a register.
const fn set(to: u8, number: u32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

/// A number, with its sign, on top of a register.
const fn add(to: u8, number: u32) -> u64 {
    instruction(0x07, to, 0, 0, number)
}

/// Eight bytes from memory.
const fn load(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x79, to, from, offset, 0)
}

/// Eight bytes into memory.
const fn store(to: u8, offset: i16, from: u8) -> u64 {
    instruction(0x7b, to, from, offset, 0)
}

/// A number into eight bytes of memory.
const fn store_immediate(to: u8, offset: i16, number: u32) -> u64 {
    instruction(0x7a, to, 0, offset, number)
}

const fn call(helper: u32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

/// r0 leads to this processor's element 0 of a map, or is 0.
fn look_up(map: &OwnedFd) -> [u64; 6] {
    const PSEUDO_MAP_FD: u8 = 1;
    [
        store_immediate(10, -8, 0),
        copy(2, 10),
        add(2, -8_i32 as u32),
        instruction(0x18, 1, PSEUDO_MAP_FD, 0, map.as_raw_fd().unsigned_abs()),
        0,
        call(MAP_LOOKUP),
    ]
}

/// Instructions, and jumps to their end.
#[derive(Default)]
struct Code {
    instructions: Vec<u64>,
    skips: Vec<usize>,
}

impl Code {
    fn extend(&mut self, more: &[u64]) {
        self.instructions.extend(more);
    }

    /// To the end if a register is 0.
    fn skip_if_zero(&mut self, register: u8) {
        self.skips.push(self.instructions.len());
        self.instructions.push(instruction(0x15, register, 0, 0, 0));
    }

    /// To the end unless the lower half of a register is this number.
    fn skip_unless(&mut self, register: u8, number: u32) {
        self.skips.push(self.instructions.len());
        self.instructions.push(instruction(0x56, register, 0, 0, number));
    }

    /// To where it [lands](Self::land) if two registers are the same.
    fn jump_if_equal(&mut self, one: u8, other: u8) -> usize {
        self.instructions.push(instruction(0x1d, one, other, 0, 0));
        self.instructions.len() - 1
    }

    fn land(&mut self, jump: usize) {
        let distance = (self.instructions.len() - jump - 1) as u64;
        self.instructions[jump] |= distance << 16;
    }

    fn end(mut self) -> Vec<u64> {
        for skip in std::mem::take(&mut self.skips) {
            self.land(skip);
        }
        self.instructions.extend([set(0, 0), instruction(0x95, 0, 0, 0, 0)]);
        self.instructions
    }
}

//! Counts the instructions that the program executes for a frame, as no counter of the kernel does.
//!
//! The instructions are those that libbpf hands to the kernel, which takes out some more that never run, and writes
//! some of the look-ups out. Maps are the kernel's, filled in like the program's.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Object};

/// Where the kinds of memory lie, in the upper half of an address.
const STACK: u64 = 1 << 32;
const PACKET: u64 = 2 << 32;
const CONTEXT: u64 = 3 << 32;
const VALUES: u64 = 4 << 32;
const MAPS: u64 = 5 << 32;
const STACK_LEN: usize = 512;
/// Each value of a map that was looked up has this much room in [`VALUES`].
const VALUE_ROOM: usize = 64;

/// What one frame took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) verdict: u64,
    pub(crate) instructions: u32,
    /// Calls of the kernel's functions. It writes out those that look up arrays, so that they are none.
    pub(crate) calls: u32,
    /// Those of the calls that look up a hash map.
    pub(crate) look_ups: u32,
}

struct Instruction {
    code: u8,
    dst: usize,
    src: usize,
    offset: i16,
    imm: i32,
}

pub(crate) struct Interpreter {
    program: Vec<Instruction>,
    maps: Vec<MapHandle>,
}

struct Machine<'a> {
    maps: &'a [MapHandle],
    registers: [u64; 11],
    stack: [u8; STACK_LEN],
    packet: &'a [u8],
    values: Vec<u8>,
}

impl Interpreter {
    pub(crate) fn new(object: &Object) -> Self {
        let program = object.progs().next().expect("the object has a program");
        let decode = |raw: &libbpf_rs::libbpf_sys::bpf_insn| Instruction {
            code: raw.code,
            dst: raw.dst_reg().into(),
            src: raw.src_reg().into(),
            offset: raw.off,
            imm: raw.imm,
        };
        let maps = object.maps().map(|map| MapHandle::try_from(&map).unwrap()).collect();
        let mut interpreter = Self { program: program.insns().iter().map(decode).collect(), maps };
        let descriptors: Vec<_> = object.maps().map(|map| map.as_fd().as_raw_fd()).collect();
        // A map is named by its descriptor in the first of two slots (BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE).
        for instruction in interpreter.program.iter_mut().filter(|one| one.code == 0x18 && one.src != 0) {
            let map = descriptors.iter().position(|fd| *fd == instruction.imm).expect("a map of the object");
            instruction.imm = i32::try_from(map).unwrap();
        }
        interpreter
    }

    pub(crate) fn run(&self, packet: &[u8]) -> Cost {
        let mut machine =
            Machine { maps: &self.maps, registers: [0; 11], stack: [0; STACK_LEN], packet, values: Vec::new() };
        machine.registers[1] = CONTEXT;
        machine.registers[10] = STACK + STACK_LEN as u64;
        let (mut at, mut cost) = (0_usize, Cost { verdict: 0, instructions: 0, calls: 0, look_ups: 0 });
        loop {
            let one = &self.program[at];
            cost.instructions += 1;
            at += 1;
            match (one.code & 7, one.code & 0xf0) {
                (0, _) => {
                    machine.load_constant(one, self.program[at].imm);
                    at += 1;
                }
                (5, 0x90) => break,
                (5, 0x80) => {
                    cost.calls += 1;
                    cost.look_ups += u32::from(machine.asks_hash(one.imm));
                    machine.call(one.imm);
                }
                (5 | 6, _) if machine.jumps(one) => at = at.wrapping_add_signed(one.offset.into()),
                (5 | 6, _) => {}
                (4 | 7, _) => machine.compute(one),
                _ => machine.access(one),
            }
        }
        cost.verdict = machine.registers[0];
        cost
    }
}

impl Machine<'_> {
    fn load_constant(&mut self, one: &Instruction, second: i32) {
        let map = usize::try_from(one.imm).unwrap_or(0);
        self.registers[one.dst] = match one.src {
            0 => u64::from(second as u32) << 32 | u64::from(one.imm as u32),
            1 => MAPS + map as u64,
            _ => self.lend(&self.maps[map].lookup(&[0; 4], MapFlags::ANY).unwrap().unwrap()) + u64::from(second as u32),
        };
    }

    /// Puts a map's value where the program can read it.
    fn lend(&mut self, value: &[u8]) -> u64 {
        let address = VALUES + self.values.len() as u64;
        self.values.extend_from_slice(value);
        self.values.resize(self.values.len().next_multiple_of(VALUE_ROOM), 0);
        address
    }

    fn bytes(&self, address: u64, len: usize) -> &[u8] {
        let memory = match address >> 32 << 32 {
            STACK => &self.stack[..],
            PACKET => self.packet,
            VALUES => &self.values,
            _ => panic!("the program reads at {address:#x}"),
        };
        &memory[address as u32 as usize..][..len]
    }

    fn access(&mut self, one: &Instruction) {
        let len = [4, 2, 1, 8][usize::from(one.code >> 3 & 3)];
        let base = if one.code & 7 == 1 { one.src } else { one.dst };
        let address = self.registers[base].wrapping_add_signed(one.offset.into());
        if one.code & 7 == 1 {
            // struct xdp_md: data, data_end, ..., rx_queue_index at 16.
            self.registers[one.dst] = match address.checked_sub(CONTEXT).filter(|offset| *offset < 24) {
                Some(0) => PACKET,
                Some(4) => PACKET + self.packet.len() as u64,
                Some(_) => 0,
                None => {
                    let mut value = [0; 8];
                    value[..len].copy_from_slice(self.bytes(address, len));
                    u64::from_le_bytes(value)
                }
            };
            return;
        }
        let value = if one.code & 7 == 3 { self.registers[one.src] } else { i64::from(one.imm) as u64 };
        let memory = if address < PACKET { &mut self.stack[..] } else { &mut self.values[..] };
        memory[address as u32 as usize..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn operand(&self, one: &Instruction) -> u64 {
        if one.code & 8 == 0 { i64::from(one.imm) as u64 } else { self.registers[one.src] }
    }

    fn jumps(&self, one: &Instruction) -> bool {
        let (mut a, mut b) = (self.registers[one.dst], self.operand(one));
        if one.code & 7 == 6 {
            (a, b) = (u64::from(a as u32), u64::from(b as u32));
        }
        match one.code & 0xf0 {
            0x00 => true,
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            0x50 => a != b,
            0x60 if one.code & 7 == 6 => (a as u32).cast_signed() > (b as u32).cast_signed(),
            0xa0 => a < b,
            0xb0 => a <= b,
            other => panic!("jump {other:#x} is not used by the program"),
        }
    }

    fn compute(&mut self, one: &Instruction) {
        let (mut a, mut b) = (self.registers[one.dst], self.operand(one));
        let is_narrow = one.code & 7 == 4;
        if is_narrow && one.code & 0xf0 != 0xd0 {
            (a, b) = (u64::from(a as u32), u64::from(b as u32));
        }
        let result = match one.code & 0xf0 {
            0x00 => a.wrapping_add(b),
            0x10 => a.wrapping_sub(b),
            0x20 => a.wrapping_mul(b),
            0x40 => a | b,
            0x50 => a & b,
            0x60 => a.wrapping_shl(b as u32),
            0x70 => a.wrapping_shr(b as u32),
            0xa0 => a ^ b,
            0xb0 => b,
            0xc0 => a.cast_signed().wrapping_shr(b as u32).cast_unsigned(),
            0xd0 => a.swap_bytes() >> (64 - one.imm),
            other => panic!("operation {other:#x} is not used by the program"),
        };
        self.registers[one.dst] = if is_narrow && one.code & 0xf0 != 0xd0 { u64::from(result as u32) } else { result };
    }

    /// The map that a call is about, if it is about one.
    fn map(&self) -> Option<&MapHandle> {
        self.maps.get((self.registers[1] ^ MAPS) as usize)
    }

    fn asks_hash(&self, function: i32) -> bool {
        function == 1 && self.map().is_some_and(|map| map.map_type() == MapType::Hash)
    }

    fn call(&mut self, function: i32) {
        let map = self.map();
        self.registers[0] = match (function, map) {
            // bpf_map_lookup_elem
            (1, Some(map)) if map.map_type() == MapType::PercpuArray => self.lend(&[0; 8]),
            (1, Some(map)) => {
                let key = self.bytes(self.registers[2], map.key_size() as usize);
                map.lookup(key, MapFlags::ANY).unwrap().map_or(0, |value| self.lend(&value))
            }
            // bpf_redirect_map, as if there were a socket: XDP_REDIRECT
            (51, Some(_)) => 4,
            // bpf_xdp_get_buff_len
            (188, _) => self.packet.len() as u64,
            _ => panic!("function {function} is not used by the program"),
        };
    }
}

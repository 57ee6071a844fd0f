//! A netlink socket that a plain thread can wait for: requests, dumps and notices. What the messages hold is parsed by
//! the netlink-packet crates.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, send, socket_with, sockopt};
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of one datagram: those of a dump have 32 KiB (`NLMSG_GOODSIZE` and `min_dump_alloc`), with room to spare.
const DATAGRAM: usize = 64 * 1024;

/// How often a dump that was disturbed is begun anew before it is taken as it is.
const ATTEMPTS: u32 = 10;

/// One netlink socket and a buffer.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

/// What one look at the socket brought.
#[derive(Debug)]
pub(super) enum Heard<M> {
    /// Messages, without those that could not be read.
    Messages(Vec<M>),
    /// The kernel had more to say than the socket could hold: something is missing.
    Overflow,
    /// Nothing has come.
    Nothing,
}

impl Netlink {
    /// A socket of `protocol`, `None` for `NETLINK_ROUTE`, that hears the multicast `groups`, a bit each (`RTMGRP_*`).
    pub(super) fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM], sequence: 0 })
    }

    /// Sets how much the kernel may hold for us before it overflows, bytes.
    pub(super) fn set_buffer(&self, bytes: usize) -> io::Result<()> {
        // Beyond the system's limit only with CAP_NET_ADMIN; what the limit allows will do as well.
        sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.socket, bytes))?;
        Ok(())
    }

    /// Every message that `request` is answered with. A dump that was disturbed by changes is begun anew.
    pub(super) fn dump<M>(&mut self, request: &M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        let mut attempt = 1;
        loop {
            let (messages, disturbed) = self.dump_once(request)?;
            if !disturbed || attempt >= ATTEMPTS {
                return Ok(messages);
            }
            attempt += 1;
        }
    }

    fn dump_once<M>(&mut self, request: &M) -> io::Result<(Vec<M>, bool)>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut all, mut disturbed) = (Vec::new(), false);
        loop {
            for message in self.answers::<M>()? {
                disturbed |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => all.push(inner),
                    NetlinkPayload::Done(_) => return Ok((all, disturbed)),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Asks for something to be done, and waits until it is.
    pub(super) fn order<M>(&mut self, request: &M, flags: u16) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.send(request, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            for message in self.answers::<M>()? {
                if let NetlinkPayload::Error(error) = message.payload {
                    return if error.code.is_some() { Err(error.to_io()) } else { Ok(()) };
                }
            }
        }
    }

    fn send<M: NetlinkSerializable + Clone>(&mut self, request: &M, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// The next datagram of answers to the last request. The kernel answers at once; what takes a second is not coming.
    fn answers<M: NetlinkDeserializable>(&mut self) -> io::Result<Vec<NetlinkMessage<M>>> {
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer over netlink")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let length = match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, length)) if length > self.buffer.len() => return Err(io::ErrorKind::InvalidData.into()),
            Ok((_, length)) => length,
            Err(Errno::INTR | Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut messages = parse::<M>(&self.buffer[..length]);
        // Others are the rest of a request that was left.
        messages.retain(|message| message.header.sequence_number == self.sequence);
        Ok(messages)
    }

    /// What has come by itself.
    pub(super) fn hear<M: NetlinkDeserializable>(&mut self) -> io::Result<Heard<M>> {
        match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
            // A datagram that was cut short is one that was lost.
            Ok((_, length)) if length > self.buffer.len() => Ok(Heard::Overflow),
            Ok((_, length)) => {
                let messages = parse::<M>(&self.buffer[..length]).into_iter();
                let inner = messages.filter_map(|message| match message.payload {
                    NetlinkPayload::InnerMessage(inner) => Some(inner),
                    _ => None,
                });
                Ok(Heard::Messages(inner.collect()))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Heard::Nothing),
            Err(Errno::NOBUFS) => Ok(Heard::Overflow),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The messages of a datagram. One that cannot be read, because the kernel is newer than the parser, is left out.
fn parse<M: NetlinkDeserializable>(mut bytes: &[u8]) -> Vec<NetlinkMessage<M>> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize) {
        // 16 bytes are the header; the rest is filled up to a multiple of four.
        let Some(one) = bytes.get(..length).filter(|_| length >= 16) else { break };
        match NetlinkMessage::deserialize(one) {
            Ok(message) => messages.push(message),
            Err(error) => tracing::debug!(%error, "a netlink message could not be read"),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

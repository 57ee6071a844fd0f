//! A kernel-bypass TCP/IP stack for Linux servers over AF_XDP.

pub mod config;

//! `serve`: serves a workload until it is told to stop.

use crate::cli::{ServeArgs, StackArgs};
use crate::cores::CoreList;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report::units;
use crate::stop::Stop;
use crate::transport::{ServeSummary, TransportKind, corelane, kernel, raw};
use crate::workload::Servers;
use serde::Serialize;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Report<'a> {
    transport: &'static str,
    #[serde(flatten)]
    summary: ServeSummary,
    /// What the stack counted below the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a ::corelane::Summary>,
    /// What the raw transport counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<raw::RawSummary>,
}

/// Runs the command.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    check(args)?;
    if let Some(cores) = &args.cores {
        cores.check_online()?;
    }
    let _held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let default = CoreList::first_allowed();
    let announce = |listen| announce(listen, args.json);
    let mut frames = None;
    let servers = Servers::new(args.workload);
    let (summary, stack) = match args.transport {
        TransportKind::Raw => {
            let core = args.cores.as_ref().unwrap_or(&default).as_slice()[0];
            let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), args.port);
            let (summary, counted) = raw::run_serve(args, core, &Stop::on_signals()?, || announce(listen))?;
            frames = Some(counted);
            (summary, None)
        }
        TransportKind::Kernel | TransportKind::KernelUring => {
            let ip = args.stack.address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |prefix| prefix.ip);
            let listen = SocketAddr::new(ip, args.port);
            let engine = kernel::Engine::of(args.transport);
            let cores = args.cores.as_ref().unwrap_or(&default).as_slice().to_vec();
            let options = kernel::ServeOptions { servers, listen, engine, cores, spin: args.spin };
            (kernel::run_serve(&options, &Stop::on_signals()?, || announce(listen))?, None)
        }
        TransportKind::Corelane => {
            let mut stack = args.stack.clone();
            if args.takeover {
                stack.set.push("control.takeover=true".to_owned());
            }
            let config = corelane::StackConfig::new(&stack, args.cores.as_ref(), &default)?;
            let (summary, stack) = corelane::run_serve(&config, &servers, args.port, announce)?;
            (summary, Some(stack))
        }
    };
    let report = Report { transport: args.transport.name(), summary, stack: stack.as_ref(), raw: frames };
    print_summary(&report, args.json)
}

fn check(args: &ServeArgs) -> Result<(), Failure> {
    if args.port == 0 {
        return Err(Failure::Usage("--port 0 is no port; choose one from 1 to 65535".to_owned()));
    }
    if args.takeover && args.transport != TransportKind::Corelane {
        return Err(Failure::Usage("--takeover is for --transport corelane".to_owned()));
    }
    if args.transport == TransportKind::Raw {
        return raw::check_serve(args);
    }
    check_stack(&args.stack, args.transport, args.spin)
}

/// Options that the chosen transport would ignore are refused, so that nobody measures something else than meant.
pub fn check_stack(stack: &StackArgs, transport: TransportKind, spin: bool) -> Result<(), Failure> {
    let StackArgs { config, interface, address, gateway, mode, wait, impair, set } = stack;
    match transport {
        // It has a check of its own.
        TransportKind::Raw => Ok(()),
        TransportKind::Kernel | TransportKind::KernelUring => {
            let given = [
                ("--config", config.is_some()),
                ("--interface", interface.is_some()),
                ("--gateway", gateway.is_some()),
                ("--mode", mode.is_some()),
                ("--wait", wait.is_some()),
                ("--impair", impair.is_some()),
                ("--set", !set.is_empty()),
            ];
            match given.iter().find(|(_, given)| *given) {
                None => Ok(()),
                Some((name, _)) => Err(Failure::Usage(format!(
                    "{name} is for --transport corelane; with the kernel, only --address says where"
                ))),
            }
        }
        TransportKind::Corelane => {
            if spin {
                return Err(Failure::Usage(
                    "--spin is for --transport kernel; with corelane, say --wait spin".to_owned(),
                ));
            }
            if config.is_some() {
                return Ok(());
            }
            if interface.is_none() {
                return Err(Failure::Usage(
                    "--transport corelane needs --interface IF or a --config FILE that names one".to_owned(),
                ));
            }
            if address.is_none_or(|prefix| prefix.len.is_none()) {
                return Err(Failure::Usage(
                    "--transport corelane needs --address A/P: its own address with the prefix length, such as \
                     10.0.0.2/24"
                        .to_owned(),
                ));
            }
            Ok(())
        }
    }
}

/// The line that scripts wait for.
fn announce(listen: SocketAddr, json: bool) {
    // Whoever does not read it does not wait for it.
    let _ = if json {
        writeln!(std::io::stderr(), "listening on {listen}")
    } else {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening on {listen}").and_then(|()| stdout.flush())
    };
}

fn print_summary(report: &Report<'_>, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(report)
            .map_err(|error| Failure::Machine(format!("the summary cannot be written: {error}")))?
    } else {
        let stack = report.stack.map(|stack| format!("\n\n{}", stack.to_string().trim_end())).unwrap_or_default();
        let ServeSummary { accepted, closed, reset, open_at_stop, accept_errors, bytes_in, bytes_out, tally } =
            &report.summary;
        let rows = [
            ("connections accepted", accepted),
            ("connections closed", closed),
            ("  of these, broken", reset),
            ("open at the stop", open_at_stop),
            ("not accepted", accept_errors),
            ("requests", &tally.requests),
            ("requests refused", &tally.rejected),
            ("bytes in", bytes_in),
            ("bytes out", bytes_out),
        ];
        rows.map(|(name, value)| format!("{name:<22}{:>20}", units::count(*value))).join("\n") + &stack
    };
    // A closed pipe is the reader's wish.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

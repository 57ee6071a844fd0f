//! An echo server on port 7 of an address that the kernel does not have.

use corelane::{App, Config, Conn, Core, Error, Rx};

struct Echo;

impl App for Echo {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(7)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        let taken = conn.send_copy(rx.bytes());
        rx.consume(taken); // what there was no room for comes again
    }
}

fn main() -> Result<(), Error> {
    let config = Config::builder().interface("eth0").address("10.0.0.2/24").build()?;
    println!("{}", corelane::run(&config, |_core| Echo)?);
    Ok(())
}

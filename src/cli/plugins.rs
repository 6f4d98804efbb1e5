//! `build`, `new` and `check`.

use crate::{
    build, config::Config, core::PluginName, plugin::wasm::Engine, reload::Source, server::Tls,
};
use anyhow::bail;
use std::path::Path;

pub(super) async fn build(dir: &Path) -> anyhow::Result<()> {
    let built = build::build(dir, &mut |line| eprintln!("{line}")).await;
    let built = built.map_err(|error| match &error.details {
        Some(details) => {
            eprintln!("{}", details.trim_end());
            error
        }
        None => error,
    })?;
    let kib = built.size_bytes.div_ceil(1024);
    let seconds = (built.compile + built.encode).as_secs_f64();
    println!("{} ({kib} KiB, {seconds:.1} s)", built.path.display());
    Ok(())
}

pub(super) fn scaffold(path: &Path) -> anyhow::Result<()> {
    build::scaffold(path)?;
    let shown = path.display();
    println!(
        "{shown}: a plugin that greets\n\n  cd {shown}\n  cargo test      its tests, natively\n  \
         cometbox dev    build it, serve it, swap it on every save"
    );
    Ok(())
}

pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    if let Some(tls) = &config.tls {
        Tls::load(tls)?;
        println!("tls: {} loads, with its key", tls.certificate.display());
    }
    let engine = Engine::new()?;
    let mut broken = 0;
    for app in &config.apps {
        for plugin in &app.plugins {
            print!("{}/{}: ", app.name, plugin.name);
            let component = match Source::of(plugin.path.clone()) {
                Source::Component(file) => file,
                Source::Folder(dir) => match build::component_of(&dir) {
                    Ok(file) => file,
                    Err(missing) => {
                        broken += 1;
                        println!("{missing}");
                        continue;
                    }
                },
            };
            let bytes = std::fs::read(&component)?;
            let name = PluginName(plugin.name.as_str().into());
            match engine.load(name, &bytes, &plugin.settings, app.limits.plugin) {
                Ok(_) => println!("{} loads", component.display()),
                Err(error) => {
                    broken += 1;
                    println!("{}: {error}", component.display());
                }
            }
        }
    }
    if broken > 0 {
        bail!("{}: plugins that do not load: {broken}", path.display());
    }
    println!("{}: ok", path.display());
    Ok(())
}

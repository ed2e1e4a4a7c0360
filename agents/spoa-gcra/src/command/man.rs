//! `spoa-gcra man`: the manual page, in roff, from what the help is made of.

use std::io;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use spoa_gcra::settings::{Setting, TABLE};

use super::{Arguments, EXIT_CODES, Failure};

pub(super) fn execute() -> Result<(), Failure> {
    let mut page = Vec::new();
    render(&mut page).map_err(Failure::Print)?;
    super::print(&page)
}

fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let commands = commands(&command);
    let man = Man::new(command);
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    commands.to_writer(page)?;
    environment().to_writer(page)?;
    let mut exit_status = Roff::new();
    exit_status.control("SH", ["EXIT STATUS"]);
    exit_status.text([roman(EXIT_CODES)]);
    exit_status.to_writer(page)
}

/// Each with its description and its own arguments.
fn commands(command: &Command) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        entry(&mut section, [bold(command.get_name())]);
        let about = command.get_long_about().or_else(|| command.get_about());
        for paragraph in text(about).split("\n\n") {
            section.text([roman(paragraph)]);
            section.control("IP", []);
        }
        for argument in command.get_arguments().filter(|one| one.get_id() != "help") {
            let help = text(argument.get_help());
            section.text([bold(argument.to_string()), roman(format!(": {help}."))]);
        }
    }
    section
}

fn environment() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["ENVIRONMENT"]);
    for setting in TABLE {
        let Setting {
            name,
            default,
            meaning,
            ..
        } = setting;
        entry(&mut section, [bold(*name)]);
        section.text([roman(format!("{meaning}."))]);
        section.control("br", []);
        section.text([italic("Accepted: "), roman(setting.accepted())]);
        if !default.is_empty() {
            section.control("br", []);
            section.text([italic("Default: "), roman(*default)]);
        }
    }
    section
}

fn entry(section: &mut Roff, name: [Inline; 1]) {
    section.control("TP", []);
    section.text(name);
}

fn text(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

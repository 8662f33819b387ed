"""Shell completion, written from the argument parser so that it cannot fall behind it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable

Commands = dict[str, tuple[str, argparse.ArgumentParser]]


def _commands(top: argparse.ArgumentParser) -> Commands:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (told.get(name, ""), command) for name, command in action.choices.items()}
    return {}


def _options(command: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return (action for action in command._actions if action.option_strings)


def _choices(action: argparse.Action) -> list[str]:
    return [str(choice) for choice in action.choices] if action.choices else []


def _positional_choices(command: argparse.ArgumentParser) -> list[str]:
    return [word for action in command._actions if not action.option_strings for word in _choices(action)]


def script(shell: str, top: argparse.ArgumentParser) -> str:
    """The script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_commands(top))


def _bash(commands: Commands) -> str:
    words, values = [], []
    for name, (_, command) in commands.items():
        longs = [text for action in _options(command) for text in action.option_strings]
        words.append(f"        {name}) words={shlex.quote(' '.join(longs + _positional_choices(command)))} ;;")
        for action in _options(command):
            if action.choices:
                told = shlex.quote(" ".join(_choices(action)))
                pattern = "|".join(f"{name}:{text}" for text in action.option_strings)
                values.append(f"        {pattern}) words={told} ;;")
    return "\n".join(
        [
            "# trunkline: eval \"$(trunkline completion bash)\"",
            "_trunkline() {",
            "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=",
            "    COMPREPLY=()",
            "    if ((COMP_CWORD == 1)); then",
            f"        COMPREPLY=($(compgen -W {shlex.quote(' '.join([*commands, '--version', '--help']))} -- \"$current\"))",
            "        return",
            "    fi",
            "    case ${COMP_WORDS[1]}:$before in",
            *values,
            "    esac",
            "    if [[ -n $words ]]; then",
            '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "        return",
            "    fi",
            "    case ${COMP_WORDS[1]} in",
            *words,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "    if [[ $current != -* ]]; then",
            '        local IFS=$\'\\n\'',
            '        COMPREPLY+=($(compgen -f -- "$current"))',
            "    fi",
            "}",
            "complete -o filenames -F _trunkline trunkline",
            "",
        ]
    )


def _zsh_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _zsh(commands: Commands) -> str:
    lines = ["#compdef trunkline", "_trunkline() {", "    local -a commands", "    commands=("]
    lines += [f"        '{name}:{_zsh_quoted(told)}'" for name, (told, _) in commands.items()]
    lines += [
        "    )",
        "    if ((CURRENT == 2)); then",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    ((CURRENT--))",
        "    case $command in",
    ]
    for name, (_, command) in commands.items():
        lines.append(f"        {name}) _arguments \\")
        for action in _options(command):
            told = _zsh_quoted(action.help or "")
            value = ""
            if action.nargs != 0:
                value = f":value:({' '.join(_choices(action))})" if action.choices else ":value:_files"
            lines += [f"            '{text}[{told}]{value}' \\" for text in action.option_strings]
        choices = _positional_choices(command)
        rest = f"'*:value:({' '.join(choices)})'" if choices else "'*:file:_files'"
        lines.append(f"            {rest} ;;")
    lines += [
        "    esac", "}", 'if [[ $funcstack[1] == _trunkline ]]; then _trunkline "$@"; else compdef _trunkline trunkline; fi', "",
    ]  # fmt: skip
    return "\n".join(lines)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish(commands: Commands) -> str:
    lines = ["# trunkline completion fish | source"]
    for name, (told, _) in commands.items():
        lines.append(f"complete -c trunkline -n __fish_use_subcommand -f -a {name} -d {_fish_quoted(told)}")
    for name, (_, command) in commands.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for action in _options(command):
            long = next(text[2:] for text in action.option_strings if text.startswith("--"))
            line = f"complete -c trunkline {seen} -l {long} -d {_fish_quoted(action.help or '')}"
            if action.choices:
                line += f" -x -a {_fish_quoted(' '.join(_choices(action)))}"
            elif action.nargs != 0:
                line += " -r"
            lines.append(line)
        if choices := _positional_choices(command):
            lines.append(f"complete -c trunkline {seen} -f -a {_fish_quoted(' '.join(choices))}")
    return "\n".join([*lines, ""])


__all__ = ["script"]

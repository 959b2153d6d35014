"""Print the completion script of a shell.

The scripts ask the program itself (Typer's completion protocol, in the form it has for fish: one candidate a
line, its description behind a tab), so they are the same for every release and for all commands. They are
written here because Typer's own ones evaluate what the program prints, expand globs in it, and split
candidates at a colon.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that have a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


# COLUMNS keeps Typer from folding long descriptions into lines that would be taken for candidates.
_ASK = "COLUMNS=9999 _SESSIONCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS"

_BASH = r"""# bash completion for sessionctl
# Install: sessionctl completion bash > ~/.local/share/bash-completion/completions/sessionctl
# or for this shell alone: source <(sessionctl completion bash)

_sessionctl() {
    local line=${COMP_LINE:0:COMP_POINT} word before="" candidate
    word=${line##*[[:space:]]}
    # Of --option=value only the value is completed.
    if [[ $word == --*=* ]]; then
        before=${word%%=*}=
        word=${word#*=}
    fi
    # What stands before the last character that breaks words here is not replaced by bash.
    local kept=$before$word
    kept=${kept%"${kept##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        [[ -n $candidate ]] || continue
        candidate=$before$candidate
        COMPREPLY+=("${candidate#"$kept"}")
    done < <(@ASK@="$line" "${1/#\~/$HOME}" 2>/dev/null)
}

complete -o default -F _sessionctl sessionctl
"""

_ZSH = r"""#compdef sessionctl
# zsh completion for sessionctl
# Install: sessionctl completion zsh > DIR/_sessionctl, where DIR is in $fpath (before compinit)
# or for this shell alone, after compinit: source <(sessionctl completion zsh)

_sessionctl() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" candidate description
    local -a described
    while IFS=$'\t' read -r candidate description; do
        [[ -n $candidate ]] || continue
        candidate=${candidate//:/\\:}
        described+=("$candidate${description:+:$description}")
    done < <(@ASK@="$line" ${~words[1]} 2>/dev/null)
    # Of --option=value only the value is completed.
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    if (( $#described )); then
        _describe -V sessionctl described
    else
        _files
    fi
}

# Run as a completion function (from $fpath), or being sourced.
if [[ $funcstack[1] == _sessionctl ]]; then
    _sessionctl "$@"
else
    compdef _sessionctl sessionctl
fi
"""

_FISH = r"""# fish completion for sessionctl
# Install: sessionctl completion fish > ~/.config/fish/completions/sessionctl.fish
# or for this shell alone: sessionctl completion fish | source

function __sessionctl_complete
    set -l line (commandline --current-process --cut-at-cursor | string collect)
    set -l word (commandline --current-token --cut-at-cursor)
    # Of --option=value only the value is completed.
    set -l before (string match --regex -- '^--[^=]*=' "$word")
    set -l program (commandline --current-process --tokenize)[1]
    set -l found (env @ASK@="$line" $program 2>/dev/null | string match --regex '.+')
    if set -q found[1]
        printf '%s\n' "$before"$found
    else
        __fish_complete_path (string replace --regex -- '^--[^=]*=' '' "$word")
    end
end

complete --command sessionctl --no-files --arguments '(__sessionctl_complete)'
"""

_POWERSHELL = r"""# PowerShell completion for sessionctl
# Install: sessionctl completion powershell >> $PROFILE
# or for this session alone: sessionctl completion powershell | Out-String | Invoke-Expression

Register-ArgumentCompleter -Native -CommandName sessionctl -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $line = $commandAst.ToString()
    $line = $line.Substring(0, [Math]::Min($line.Length, $cursorPosition - $commandAst.Extent.StartOffset))
    if ($wordToComplete -eq '') { $line += ' ' }
    $asked = @{
        COLUMNS = '9999'
        _SESSIONCTL_COMPLETE = 'complete_fish'
        _TYPER_COMPLETE_FISH_ACTION = 'get-args'
        _TYPER_COMPLETE_ARGS = $line
    }
    $before = @{}
    foreach ($name in $asked.Keys) {
        $before[$name] = [Environment]::GetEnvironmentVariable($name)
        [Environment]::SetEnvironmentVariable($name, $asked[$name])
    }
    try {
        & $commandAst.CommandElements[0].Value 2>$null | Where-Object { $_ } | ForEach-Object {
            $candidate, $description = $_ -split "`t", 2
            if (-not $description) { $description = $candidate }
            [System.Management.Automation.CompletionResult]::new($candidate, $candidate, 'ParameterValue', $description)
        }
    } finally {
        foreach ($name in $before.Keys) { [Environment]::SetEnvironmentVariable($name, $before[$name]) }
    }
}
"""

_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH, Shell.POWERSHELL: _POWERSHELL}


def script(shell: Shell) -> str:
    """The text of the completion script."""
    return _SCRIPTS[shell].replace("@ASK@", _ASK)


def command(shell: Annotated[Shell, typer.Argument(help="The shell to print the script for.")]) -> None:
    """Print the completion script of a shell; its first lines say where to put it."""
    sys.stdout.write(script(shell))

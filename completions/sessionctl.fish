# fish completion for sessionctl
# Install: sessionctl completion fish > ~/.config/fish/completions/sessionctl.fish
# or for this shell alone: sessionctl completion fish | source

function __sessionctl_complete
    set -l line (commandline --current-process --cut-at-cursor | string collect)
    set -l word (commandline --current-token --cut-at-cursor)
    # Of --option=value only the value is completed.
    set -l before (string match --regex -- '^--[^=]*=' "$word")
    set -l program (commandline --current-process --tokenize)[1]
    set -l found (env COLUMNS=9999 _SESSIONCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS="$line" $program 2>/dev/null | string match --regex '.+')
    if set -q found[1]
        printf '%s\n' "$before"$found
    else
        __fish_complete_path (string replace --regex -- '^--[^=]*=' '' "$word")
    end
end

complete --command sessionctl --no-files --arguments '(__sessionctl_complete)'

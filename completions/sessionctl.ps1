# PowerShell completion for sessionctl
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

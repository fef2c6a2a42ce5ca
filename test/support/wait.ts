// The waiting that dev/ uses, under the folder where tests look for it.
export { HopelessError, WaitDeadlineError, waitFor } from '../../dev/process/wait-for.ts';

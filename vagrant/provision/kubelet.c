/* Stands in for a kubelet: a process with its name and arguments, which waits and does nothing else. */
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}

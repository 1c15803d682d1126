sluice_room_test(cpu_kernel_test SOURCES cpu_kernel_test.cpp cpu_batch_test.cpp ROOMS backend)
